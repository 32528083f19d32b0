//! A serial port as the rack file has it, for the drivers whose devices hang on one.

use serial_port::{PortSettings, UsbId};

use crate::config::{Finding, Section};

/// How a port is written in examples and remedies.
pub(crate) const PORT_EXAMPLE: &str = "\"/dev/serial/by-path/…\"";

/// Reads the keys of a port; that it has one, its driver demands.
pub(crate) fn read(section: &mut Section<'_>) -> Option<PortSettings> {
    let path = section.path("port", PORT_EXAMPLE);
    let usb = section.text("usb", "\"1a86:7523\"");
    let serial = section.text("serial", "\"A50285BI\"").map(|serial| serial.value);
    let dtr = section.truth("dtr").unwrap_or(true);
    let parsed = usb.as_ref().map(|usb| UsbId::parse(&usb.value));
    if let (Some(usb), Some(None)) = (&usb, parsed) {
        section.tell(
            Finding::error(format!("`usb` in {} is no USB id", section.name()), usb.span.clone())
                .found(format!("found {:?}", usb.value))
                .expected("VENDOR:PRODUCT, four hexadecimal digits each, as `lsusb` shows them")
                .remedy("write it like `usb = \"1a86:7523\"`"),
        );
        return None;
    }
    Some(PortSettings { path: path?.value, usb: parsed.flatten(), serial, dtr })
}
