//! A byte-level BPE vocabulary: control tokens, the 256 bytes, syllables, and words of one and two syllables.

/// Control tokens, which come first; a token's place is its id.
pub const CONTROL: [&str; 5] = ["<s>", "</s>", "<unk>", "<|im_start|>", "<|im_end|>"];
pub const BEGIN: usize = 0;
pub const PAD: usize = 1;
pub const END: usize = 4;

/// The space before a word, in the alphabet of byte-level BPE.
const SPACE: char = '\u{120}';
const CONSONANTS: &str = "bcdfghjklmnpqrstvwxz";
const VOWELS: &str = "aeiou";
/// Second syllables: enough that most of the vocabulary is words.
const SECOND: usize = 16;

pub struct Vocabulary {
    pub tokens: Vec<String>,
    pub merges: Vec<(String, String)>,
}

impl Vocabulary {
    pub fn new() -> Self {
        let mut own = Self { tokens: CONTROL.map(String::from).to_vec(), merges: Vec::new() };
        own.tokens.extend((0..=255).map(|byte| letter(byte).to_string()));
        let syllables: Vec<String> =
            CONSONANTS.chars().flat_map(|c| VOWELS.chars().map(move |v| format!("{c}{v}"))).collect();
        for syllable in &syllables {
            own.merge(&syllable[..1], &syllable[1..]);
        }
        for first in &syllables {
            own.merge(&SPACE.to_string(), first);
        }
        for first in &syllables {
            for second in syllables.iter().step_by(syllables.len() / SECOND).take(SECOND) {
                own.merge(&format!("{SPACE}{first}"), second);
            }
        }
        own
    }

    fn merge(&mut self, left: &str, right: &str) {
        self.tokens.push(format!("{left}{right}"));
        self.merges.push((left.to_owned(), right.to_owned()));
    }
}

/// A word that begins with a space: what the model is to say.
pub fn is_word(token: &str) -> bool {
    token.strip_prefix(SPACE).is_some_and(|rest| !rest.is_empty() && rest.bytes().all(|b| b.is_ascii_alphabetic()))
}

/// The printable letter that byte-level BPE writes for BYTE: its own where it has one, one from U+0100 on elsewhere.
fn letter(byte: u8) -> char {
    let own = |byte: u8| matches!(byte, 33..=126 | 161..=172 | 174..=255);
    if own(byte) {
        return char::from(byte);
    }
    let nth = (0..byte).filter(|before| !own(*before)).count() as u32;
    char::from_u32(256 + nth).unwrap_or(SPACE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_space_and_the_newline_are_where_every_tokenizer_has_them() {
        assert_eq!(letter(b' '), '\u{120}');
        assert_eq!(letter(b'\n'), '\u{10a}');
        assert_eq!(letter(b'A'), 'A');
    }

    #[test]
    fn tokens_are_distinct_and_merges_join_what_is_known() {
        let vocabulary = Vocabulary::new();
        let known: std::collections::HashSet<&String> = vocabulary.tokens.iter().collect();
        assert_eq!(known.len(), vocabulary.tokens.len());
        assert!(vocabulary.merges.iter().all(|(left, right)| known.contains(left) && known.contains(right)));
        assert!(vocabulary.tokens.iter().filter(|token| is_word(token)).count() > 1600);
    }
}
