//! Compiles the host's protos with protox, so that no `protoc` is needed, and keeps their
//! descriptors for the reflection service. The paths under `proto/` are those that Go plugins
//! register.

use std::path::PathBuf;

const FILES: [&str; 6] = [
    "plugins/base/proto/v1/base.proto",
    "plugins/target/proto/v1/target.proto",
    "plugins/apm/proto/v1/apm.proto",
    "internal/plugin/grpc_broker.proto",
    "internal/plugin/grpc_controller.proto",
    "internal/plugin/grpc_stdio.proto",
];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut compiler = protox::Compiler::new(["proto"])?;
    compiler.include_imports(true).open_files(FILES)?;
    let out = PathBuf::from(std::env::var_os("OUT_DIR").ok_or("cargo sets OUT_DIR")?);
    std::fs::write(out.join("descriptors.bin"), compiler.encode_file_descriptor_set())?;
    tonic_prost_build::configure()
        .include_file("wire.rs")
        .btree_map(".")
        .compile_fds(compiler.file_descriptor_set())?;
    println!("cargo::rerun-if-changed=proto");
    Ok(())
}
