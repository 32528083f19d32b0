//! The GPIO registers of the BCM2835 family, as far as relays go: which function a pin has, and its level.

use anyhow::{Context as _, Result, bail};

use crate::gpio_sim::Level;

/// Pins that one function select register speaks of, three bits each.
const PINS_OF_SELECT: usize = 10;

/// Pins that one level register speaks of.
const PINS_OF_LEVEL: usize = 32;

/// What a pin is set to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Function {
    /// An input: it drives nothing.
    Input,
    /// An output.
    Output,
    /// One of the six others: a serial line, a bus, a clock.
    Alternative,
}

/// The registers at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Registers {
    selects: Vec<u32>,
    levels: Vec<u32>,
}

impl Registers {
    /// Reads the words of one printed line: GPFSEL0 to GPFSEL5, GPLEV0, GPLEV1.
    pub(super) fn of(words: &str) -> Result<Self> {
        let words = words.split_whitespace().map(|word| {
            let digits = word.strip_prefix("0x").unwrap_or(word);
            u32::from_str_radix(digits, 16).with_context(|| format!("{word:?} is no register"))
        });
        let words = words.collect::<Result<Vec<u32>>>()?;
        match words.as_slice() {
            [selects @ .., low, high] if selects.len() == 6 => {
                Ok(Self { selects: selects.to_vec(), levels: vec![*low, *high] })
            }
            _ => bail!("eight registers were to be printed, not {}", words.len()),
        }
    }

    /// What a pin is set to be.
    ///
    /// # Errors
    /// Where the chip has no such pin.
    pub fn function(&self, pin: usize) -> Result<Function> {
        let select = self.selects.get(pin / PINS_OF_SELECT).context("no such pin")?;
        match (select >> (3 * (pin % PINS_OF_SELECT))) & 0b111 {
            0b000 => Ok(Function::Input),
            0b001 => Ok(Function::Output),
            _ => Ok(Function::Alternative),
        }
    }

    /// A pin's level, whoever drives it.
    ///
    /// # Errors
    /// Where the chip has no such pin.
    pub fn level(&self, pin: usize) -> Result<Level> {
        let levels = self.levels.get(pin / PINS_OF_LEVEL).context("no such pin")?;
        match (levels >> (pin % PINS_OF_LEVEL)) & 1 {
            0 => Ok(Level::Low),
            _ => Ok(Level::High),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn function_and_level_of_a_pin_are_read_from_their_bits() {
        let held = "0x0 0x00212000 0x0 0x0 0x0 0x0 0x00020000 0x0";
        let held = Registers::of(held).unwrap();
        assert_eq!(held.function(17).unwrap(), Function::Output);
        assert_eq!(held.level(17).unwrap(), Level::High);
        assert_eq!(held.function(14).unwrap(), Function::Alternative);
        assert_eq!(held.function(22).unwrap(), Function::Input);
        assert_eq!(held.level(22).unwrap(), Level::Low);
        assert!(held.function(60).is_err() && held.level(64).is_err());
        assert!(Registers::of("0x0").is_err());
    }
}
