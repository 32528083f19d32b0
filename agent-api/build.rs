//! Compiles the proto with protox, so that no `protoc` is needed.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let descriptors = protox::compile(["proto/lamplighter/agent/v1/agent.proto"], ["proto"])?;
    // Sorted maps: the same message is always the same bytes, which the golden files rest on.
    tonic_prost_build::configure().btree_map(".").compile_fds(descriptors)?;
    println!("cargo::rerun-if-changed=proto");
    Ok(())
}
