//! How Nomad's JSON is read: every field may be missing or null, every word may be a new one.

use serde::{Deserialize, Deserializer};

/// Reads null as the type's default: Nomad sends null for empty lists, maps and structs.
pub(crate) fn null_as_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Ok(Option::<T>::deserialize(deserializer)?.unwrap_or_default())
}

/// Structs as Nomad sends them: each field names its key, and missing or null is the default.
macro_rules! from_nomad {
    ($(
        $(#[$doc:meta])*
        pub struct $name:ident {$(
            $(#[$field_doc:meta])*
            pub $field:ident: $type:ty = $key:literal,
        )*}
    )*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Default, serde::Deserialize)]
        pub struct $name {$(
            $(#[$field_doc])*
            #[serde(rename = $key, default, deserialize_with = "crate::wire::null_as_default")]
            pub $field: $type,
        )*}
    )*};
}
pub(crate) use from_nomad;

/// Words as Nomad sends them: a word that is not known is kept, so that a newer Nomad is no error.
macro_rules! words {
    ($(
        $(#[$doc:meta])*
        pub enum $name:ident {$(
            $(#[$variant_doc:meta])*
            $variant:ident = $word:literal,
        )*}
    )*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
        pub enum $name {
            $($(#[$variant_doc])* $variant,)*
            /// A word that this client does not know; empty where Nomad sent none.
            Other(String),
        }

        impl $name {
            /// The word as Nomad writes it.
            #[must_use]
            pub fn as_str(&self) -> &str {
                match self {
                    $(Self::$variant => $word,)*
                    Self::Other(word) => word,
                }
            }
        }

        impl Default for $name {
            fn default() -> Self {
                Self::Other(String::new())
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let word = String::deserialize(deserializer)?;
                Ok(match word.as_str() {
                    $($word => Self::$variant,)*
                    _ => Self::Other(word),
                })
            }
        }
    )*};
}
pub(crate) use words;
