//! ELF files made by hand: two loaded parts, notes, and symbols.

use object::elf::{
    EM_X86_64, ET_DYN, PF_R, PF_W, PF_X, PT_LOAD, SHT_DYNSYM, SHT_NOTE, SHT_PROGBITS, SHT_STRTAB, SHT_SYMTAB, STT_FUNC,
};

/// Addresses of the code's and the data's first byte, and where they are in the file.
pub const CODE: u64 = 0x40_1000;
pub const DATA: u64 = 0x60_2000;
pub const CODE_AT: u64 = 0x1000;
pub const DATA_AT: u64 = 0x2000;
pub const PART_BYTES: u64 = 0x1000;

/// What a file holds.
#[derive(Clone, Debug)]
pub struct Made {
    pub machine: u16,
    pub notes: Vec<u8>,
    /// Address of the section by which moves are told; 0 for none.
    pub base: u64,
    pub names: Vec<u8>,
    pub symbols: Vec<u8>,
    pub dynamic: bool,
}

impl Default for Made {
    fn default() -> Self {
        Self { machine: EM_X86_64, notes: vec![], base: 0, names: vec![0], symbols: vec![0; 24], dynamic: false }
    }
}

impl Made {
    pub fn note(&mut self, addresses: [u64; 3], strings: &str) {
        let mut text = strings.as_bytes().to_vec();
        text.push(0);
        for word in [8, 24 + text.len() as u32, 3] {
            self.notes.extend(word.to_le_bytes());
        }
        self.notes.extend(b"stapsdt\0");
        self.notes.extend(addresses.iter().flat_map(|address| address.to_le_bytes()));
        self.notes.extend(text);
        self.notes.resize(self.notes.len().next_multiple_of(4), 0);
    }

    /// A function in the first section.
    pub fn function(&mut self, name: &str, address: u64) {
        let at = self.names.len() as u32;
        self.names.extend(name.as_bytes());
        self.names.push(0);
        self.symbol(at, STT_FUNC, 1, address);
    }

    pub fn symbol(&mut self, name: u32, kind: u8, section: u16, address: u64) {
        self.symbols.extend(name.to_le_bytes());
        self.symbols.extend([0x10 | kind, 0]);
        self.symbols.extend(section.to_le_bytes());
        self.symbols.extend(address.to_le_bytes());
        self.symbols.extend([0; 8]);
    }

    pub fn bytes(&self) -> Vec<u8> {
        const NAMES: &[u8] = b"\0.note.stapsdt\0.stapsdt.base\0";
        let mut bytes = vec![0; (DATA_AT + PART_BYTES) as usize];
        let mut sections = vec![[0_u64; 6]];
        let mut add = |name: u64, kind: u32, address: u64, link: u64, content: &[u8]| {
            sections.push([name, kind.into(), address, bytes.len() as u64, content.len() as u64, link]);
            bytes.extend(content);
            bytes.resize(bytes.len().next_multiple_of(8), 0);
        };
        add(1, SHT_NOTE, 0, 0, &self.notes);
        add(if self.base == 0 { 0 } else { 15 }, SHT_PROGBITS, self.base, 0, &[0]);
        add(0, if self.dynamic { SHT_DYNSYM } else { SHT_SYMTAB }, 0, 4, &self.symbols);
        add(0, SHT_STRTAB, 0, 0, &self.names);
        add(0, SHT_STRTAB, 0, 0, NAMES);
        let table = bytes.len() as u64;
        for [name, kind, address, offset, size, link] in &sections {
            bytes.extend((name | kind << 32).to_le_bytes());
            for word in [0, *address, *offset, *size, *link, 4, 0] {
                bytes.extend(word.to_le_bytes());
            }
        }
        self.head(&mut bytes, table, sections.len() as u16);
        bytes
    }

    fn head(&self, bytes: &mut [u8], table: u64, sections: u16) {
        let mut head = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0".to_vec();
        head.extend([ET_DYN, self.machine].iter().flat_map(|half| half.to_le_bytes()));
        head.extend([1, 0, 0, 0]);
        head.extend([0, 64, table].iter().flat_map(|word: &u64| word.to_le_bytes()));
        head.extend([0; 4]);
        head.extend([64, 56, 2, 64, sections, sections - 1].iter().flat_map(|half| half.to_le_bytes()));
        for (flags, address, offset) in [(PF_R | PF_X, CODE, CODE_AT), (PF_R | PF_W, DATA, DATA_AT)] {
            head.extend((u64::from(PT_LOAD) | u64::from(flags) << 32).to_le_bytes());
            for word in [offset, address, address, PART_BYTES, 2 * PART_BYTES, PART_BYTES] {
                head.extend(word.to_le_bytes());
            }
        }
        bytes[..head.len()].copy_from_slice(&head);
    }
}
