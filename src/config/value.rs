//! A value of the file on its way to a setting; what is wrong with it is said in the words of whoever wrote it, who
//! knows nothing of this program's types.

use std::fmt::{self, Display};
use std::ops::Range;

use serde::de::{
    DeserializeSeed, Deserializer, Error, Expected, IntoDeserializer, MapAccess, SeqAccess,
    Unexpected, Visitor,
};
use toml::Spanned;
use toml::de::{DeInteger, DeString, DeValue};

/// A value, and where it stands.
#[derive(Clone, Copy)]
pub(super) struct Value<'a, 'text>(pub(super) &'a Spanned<DeValue<'text>>);

/// The name of a key.
struct Name<'a, 'text>(&'a Spanned<DeString<'text>>);

/// Why a value is refused.
#[derive(Debug)]
pub(super) struct Wrong {
    /// Where it stands, in octets of the file.
    pub(super) span: Option<Range<usize>>,
    /// The key that is missing there.
    pub(super) missing: Option<&'static str>,
    /// What is wrong.
    pub(super) what: String,
    /// What to do about it.
    pub(super) remedy: String,
}

impl Wrong {
    fn new(what: String, remedy: String) -> Wrong {
        Wrong {
            span: None,
            missing: None,
            what,
            remedy,
        }
    }

    /// The innermost value that is wrong is the one to look at.
    fn at(self, span: Range<usize>) -> Wrong {
        Wrong {
            span: self.span.or(Some(span)),
            ..self
        }
    }
}

impl Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)
    }
}

impl std::error::Error for Wrong {}

impl Error for Wrong {
    fn custom<T: Display>(message: T) -> Wrong {
        let message = message.to_string();
        // Of the standard library, which does not say what it would have liked.
        let what = match message.strip_suffix(" syntax") {
            Some("invalid IP address") => must_be("IP address"),
            Some("invalid IPv4 address") => must_be("IPv4 address"),
            Some("invalid IPv6 address") => must_be("IPv6 address"),
            Some("invalid socket address") => must_be("socket address"),
            _ => message,
        };
        Wrong::new(what, String::new())
    }

    fn invalid_type(seen: Unexpected<'_>, wanted: &dyn Expected) -> Wrong {
        let what = format!("{}, not {}", must_be(&wanted.to_string()), words(seen));
        Wrong::new(what, String::new())
    }

    fn invalid_value(seen: Unexpected<'_>, wanted: &dyn Expected) -> Wrong {
        Wrong::invalid_type(seen, wanted)
    }

    fn invalid_length(_: usize, wanted: &dyn Expected) -> Wrong {
        Wrong::new(must_be(&wanted.to_string()), String::new())
    }

    fn unknown_variant(written: &str, known: &'static [&'static str]) -> Wrong {
        let what = format!("must be {}, not {written:?}", one_of(known));
        Wrong::new(what, nearest(written, known).unwrap_or_default())
    }

    fn unknown_field(written: &str, known: &'static [&'static str]) -> Wrong {
        let all = || format!("the keys here are {}", known.join(", "));
        Wrong::new(
            "there is no such key".into(),
            nearest(written, known).unwrap_or_else(all),
        )
    }

    fn missing_field(field: &'static str) -> Wrong {
        Wrong {
            missing: Some(field),
            ..Wrong::new(
                "it must be set".into(),
                "conf/wabridge.toml says what it is".into(),
            )
        }
    }
}

/// `known` as a choice: `"a", "b" or "c"`.
fn one_of(known: &[&str]) -> String {
    let quoted: Vec<_> = known.iter().map(|word| format!("{word:?}")).collect();
    match quoted.split_last() {
        Some((last, [])) => last.clone(),
        Some((last, others)) => format!("{} or {last}", others.join(", ")),
        None => "nothing at all".into(),
    }
}

/// Which of the known words was meant, if one comes close.
pub(super) fn nearest(written: &str, known: &[&str]) -> Option<String> {
    let distance = |word: &&str| strsim::damerau_levenshtein(written, word);
    let near = known.iter().min_by_key(|word| distance(word))?;
    // One slip in three letters is a slip; more of them are another word.
    let slips = distance(near);
    (slips * 3 <= near.len().max(written.len())).then(|| format!("did you mean {near}?"))
}

/// What a setting wants, from the type that holds it.
fn must_be(wanted: &str) -> String {
    let words = match wanted {
        "a boolean" => "true or false",
        "u8" => "a whole number from 0 to 255",
        "u16" => "a whole number from 0 to 65535",
        "u32" => "a whole number from 0 to 4294967295",
        "u64" | "usize" => "a whole number, 0 or more",
        "a string" => "text in quotes",
        "path string" => "the name of a file, in quotes",
        "IP address" => "an IP address in quotes, such as \"192.0.2.10\"",
        "IPv4 address" => "an IPv4 address in quotes, such as \"192.0.2.10\"",
        "IPv6 address" => "an IPv6 address in quotes, such as \"2001:db8::10\"",
        "socket address" => "an address with port in quotes, such as \"192.0.2.10:5061\"",
        "a sequence" => "a list in square brackets",
        "a map" => "a section of keys",
        section if section.starts_with("struct ") => "a section of keys",
        // Some of ours say it themselves.
        other => other,
    };
    format!("must be {words}")
}

/// What stands there instead.
fn words(seen: Unexpected<'_>) -> String {
    match seen {
        Unexpected::Bool(value) => value.to_string(),
        Unexpected::Unsigned(value) => value.to_string(),
        Unexpected::Signed(value) => value.to_string(),
        Unexpected::Float(value) => value.to_string(),
        Unexpected::Str(text) => format!("{text:?}"),
        Unexpected::Seq => "a list".into(),
        Unexpected::Map => "a section".into(),
        Unexpected::Other(words) => words.into(),
        _ => "that".into(),
    }
}

impl<'de> Deserializer<'de> for Value<'_, '_> {
    type Error = Wrong;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Wrong> {
        let read = match self.0.get_ref() {
            DeValue::String(text) => visitor.visit_str(text),
            DeValue::Boolean(value) => visitor.visit_bool(*value),
            DeValue::Integer(number) => match integer(number) {
                Some(number) => visitor.visit_i64(number),
                None => Err(unsuitable("so large a number", &visitor)),
            },
            DeValue::Float(number) => match number.as_str().parse() {
                Ok(number) => visitor.visit_f64(number),
                Err(_) => Err(unsuitable("such a number", &visitor)),
            },
            DeValue::Datetime(_) => Err(unsuitable("a date", &visitor)),
            DeValue::Array(items) => {
                let items = items.iter().collect::<Vec<_>>();
                visitor.visit_seq(Items(items.into_iter()))
            }
            DeValue::Table(table) => {
                let keys = table.iter().collect::<Vec<_>>();
                let keys = keys.into_iter();
                visitor.visit_map(Keys { keys, value: None })
            }
        };
        read.map_err(|wrong| wrong.at(self.0.span()))
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Wrong> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Wrong> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        known: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Wrong> {
        let read = match self.0.get_ref() {
            DeValue::String(text) => visitor.visit_enum(text.as_ref().into_deserializer()),
            _ => Err(Wrong::new(
                format!("must be {}", one_of(known)),
                String::new(),
            )),
        };
        read.map_err(|wrong| wrong.at(self.0.span()))
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct seq tuple
        tuple_struct map struct identifier ignored_any
    }
}

impl<'de> Deserializer<'de> for Name<'_, '_> {
    type Error = Wrong;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Wrong> {
        let read = visitor.visit_str(self.0.get_ref());
        read.map_err(|wrong: Wrong| wrong.at(self.0.span()))
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
        newtype_struct seq tuple tuple_struct map struct enum identifier ignored_any
    }
}

/// What is in a list, one after the other.
struct Items<I>(I);

impl<'de, 'a, 'text: 'a, I> SeqAccess<'de> for Items<I>
where
    I: Iterator<Item = &'a Spanned<DeValue<'text>>>,
{
    type Error = Wrong;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, Wrong> {
        self.0.next().map(|item| read(seed, item)).transpose()
    }
}

/// What is in a table, one after the other.
struct Keys<'a, 'text, I> {
    keys: I,
    /// Of the key that was read last.
    value: Option<&'a Spanned<DeValue<'text>>>,
}

impl<'de, 'a, 'text: 'a, I> MapAccess<'de> for Keys<'a, 'text, I>
where
    I: Iterator<Item = (&'a Spanned<DeString<'text>>, &'a Spanned<DeValue<'text>>)>,
{
    type Error = Wrong;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Wrong> {
        let Some((name, value)) = self.keys.next() else {
            return Ok(None);
        };
        self.value = Some(value);
        seed.deserialize(Name(name)).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Wrong> {
        let value = self.value.take();
        read(
            seed,
            value.ok_or_else(|| Wrong::custom("a value without a key"))?,
        )
    }
}

/// Reads one value. A type that makes something else of what it was given refuses it only then: the place is this one.
fn read<'de, T: DeserializeSeed<'de>>(
    seed: T,
    value: &Spanned<DeValue<'_>>,
) -> Result<T::Value, Wrong> {
    let read = seed.deserialize(Value(value));
    read.map_err(|wrong| wrong.at(value.span()))
}

fn integer(number: &DeInteger<'_>) -> Option<i64> {
    i64::from_str_radix(number.as_str(), number.radix()).ok()
}

fn unsuitable(seen: &'static str, wanted: &dyn Expected) -> Wrong {
    Wrong::invalid_type(Unexpected::Other(seen), wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_is_taken_for_what_was_meant_and_another_word_is_not() {
        let known = ["password_file", "target", "pbx"];
        let meant = |written| nearest(written, &known);
        assert_eq!(meant("tarrget").as_deref(), Some("did you mean target?"));
        assert_eq!(
            meant("pasword_flie").as_deref(),
            Some("did you mean password_file?")
        );
        assert_eq!(meant("pxb").as_deref(), Some("did you mean pbx?"));
        assert_eq!(meant("volume"), None);
        assert_eq!(nearest("x", &[]), None);
    }

    #[test]
    fn choices_are_listed_as_they_are_written() {
        assert_eq!(one_of(&["dtls"]), "\"dtls\"");
        assert_eq!(
            one_of(&["407", "401", "off"]),
            "\"407\", \"401\" or \"off\""
        );
    }
}
