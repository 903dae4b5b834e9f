//! Takes the elements of a list's `items` out of its JSON while it arrives, so that no more than one of them is in
//! memory. Looks at brackets and strings only: whether an element is JSON is found by who reads it.

use super::failure::{Failure, Kind};

/// The longest element: the API server keeps no object above 1.5 MiB, and writes it with a few more characters.
pub const ELEMENT_BYTES: usize = 4 << 20;
/// The longest list without its elements.
const FRAME_BYTES: usize = 64 << 10;
const KEY: &[u8] = b"items";

/// A list that is being read.
#[derive(Debug, Default)]
pub struct Items {
    depth: usize,
    in_string: bool,
    escaped: bool,
    /// The last text directly in the list's object, as far as it is looked at: a key, before a bracket opens.
    text: Vec<u8>,
    in_items: bool,
    element: Vec<u8>,
    frame: Vec<u8>,
}

impl Items {
    /// Takes the next bytes; `each` gets every element that is complete with them. Errors: those of `each`, and what is
    /// too long.
    pub fn feed(&mut self, bytes: &[u8], mut each: impl FnMut(&[u8]) -> Result<(), Failure>) -> Result<(), Failure> {
        for &byte in bytes {
            let in_element = self.in_items && (self.depth > 2 || byte == b'{');
            if in_element {
                self.element.push(byte);
            } else if !self.in_items || byte == b']' {
                self.frame.push(byte);
            }
            self.step(byte);
            if in_element && self.depth == 2 && !self.in_string {
                each(&self.element)?;
                self.element.clear();
            }
            if self.element.len() > ELEMENT_BYTES || self.frame.len() > FRAME_BYTES {
                return Err(Failure::new(Kind::TooLarge, "a pod of its list, or the list's head, is too long"));
            }
        }
        // One long element does not stay in memory.
        self.element.shrink_to(FRAME_BYTES);
        Ok(())
    }

    /// The list without its elements, once all of it was fed.
    pub fn frame(&self) -> &[u8] {
        &self.frame
    }

    fn step(&mut self, byte: u8) {
        if self.in_string {
            match byte {
                _ if self.escaped => self.escaped = false,
                b'\\' => self.escaped = true,
                b'"' => self.in_string = false,
                _ if self.depth == 1 && self.text.len() <= KEY.len() => self.text.push(byte),
                _ => {}
            }
            return;
        }
        match byte {
            b'"' => {
                self.in_string = true;
                if self.depth == 1 {
                    self.text.clear();
                }
            }
            b'{' => self.depth += 1,
            b'[' => {
                self.depth += 1;
                self.in_items |= self.depth == 2 && self.text == KEY;
            }
            b'}' | b']' => {
                self.depth = self.depth.saturating_sub(1);
                self.in_items &= self.depth > 1;
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(text: &str, chunk: usize) -> Result<(Vec<String>, String), Failure> {
        let (mut items, mut found) = (Items::default(), Vec::new());
        for bytes in text.as_bytes().chunks(chunk) {
            items.feed(bytes, |element| {
                found.push(String::from_utf8_lossy(element).into_owned());
                Ok(())
            })?;
        }
        Ok((found, String::from_utf8_lossy(items.frame()).into_owned()))
    }

    #[test]
    fn elements_come_one_by_one_however_they_arrive() {
        let first = r#"{"a":{"items":[1,2]},"b":"]}\"{[\\"}"#;
        let text = format!(
            r#"{{"kind":"PodList","x":[[{{}}]],"metadata":{{"items":[7]}},"items": [{first}, {{}} ,{{"c":[]}}], "y":1}}"#
        );
        for chunk in [1, 2, 3, 7, 4096] {
            let (found, frame) = split(&text, chunk).unwrap();
            assert_eq!(found, [first, "{}", r#"{"c":[]}"#], "{chunk}");
            assert_eq!(frame, r#"{"kind":"PodList","x":[[{}]],"metadata":{"items":[7]},"items": [], "y":1}"#);
        }
        assert!(split(r#"{"kind":"PodList","items":null}"#, 5).unwrap().0.is_empty());
        assert!(split("<html>]]}}</html>", 5).unwrap().0.is_empty());
    }

    #[test]
    fn what_is_too_long_is_refused() {
        let long = "x".repeat(ELEMENT_BYTES);
        let kind = |text: &str| split(text, 1 << 16).unwrap_err().kind;
        assert_eq!(kind(&format!(r#"{{"items":[{{"a":"{long}"}}]}}"#)), Kind::TooLarge);
        assert_eq!(kind(&long), Kind::TooLarge);
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_read(text in r#"[\[\]{},:"\\ items]{0,200}"#) {
            let whole = split(&text, 4096).unwrap();
            proptest::prop_assert_eq!(split(&text, 1).unwrap(), whole);
        }
    }
}
