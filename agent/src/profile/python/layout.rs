//! Where CPython keeps its threads and frames. From 3.13 on an interpreter describes itself (`_Py_DebugOffsets`); of
//! older ones the offsets, which do not change within a minor version, stand here. 64 bits, little-endian.

/// Where the frame that a thread is in stands in its state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Current {
    /// The state points to it.
    Direct(usize),
    /// The state points to a C frame, which points to it: offsets of both.
    Through(usize, usize),
}

/// Where the lock stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gil {
    /// In the runtime, at this offset.
    Runtime(u64),
    /// The interpreter points to it, at this offset.
    Interpreter(usize),
    /// A build without it.
    None,
}

/// Offsets in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    pub minor: u32,
    pub interpreters: u64,
    pub gil: Gil,
    pub interpreter_next: usize,
    pub interpreter_threads: usize,
    pub thread_next: usize,
    /// The kernel's id; before 3.11 there is only that of pthreads.
    pub thread_native: Option<usize>,
    pub thread_id: usize,
    pub thread_current: Current,
    /// The piece of memory that frames stand in one behind the other (3.11 and later).
    pub thread_chunk: Option<usize>,
    pub frame_code: usize,
    pub frame_previous: usize,
    /// Who made the frame (3.11 and later): from [`NOT_PYTHON`] on no function stands behind it.
    pub frame_owner: Option<usize>,
    pub frame_bytes: usize,
    pub code_filename: usize,
    pub code_name: usize,
    pub code_line: usize,
    pub text_state: usize,
    pub text_length: usize,
    pub text_ascii: usize,
}

/// A text's state: bytes per character, and whether all of them are ASCII. Three bits of width, "in one piece" and "is
/// ASCII" stand behind two bits, or in builds without a GIL (and some of the first 3.14) behind 8 or 16; what stands before
/// them is 0 to 3, so that each is told from the others. None: no text.
pub fn text_state(state: u64) -> Option<(usize, bool)> {
    let fits = |at: &u32| matches!(state >> at & 0b1111, 0b1001 | 0b1010 | 0b1100);
    let at = [2, 16, 8].into_iter().find(fits)?;
    Some(((state >> at & 0b111) as usize, state >> at & 0b10000 != 0))
}

/// Frames of the interpreter's own.
pub const NOT_PYTHON: u8 = 3;
/// The lock's last holder, and whether it is held, in the lock.
pub const GIL_HOLDER: usize = 8;
pub const GIL_LOCKED: usize = 16;
/// What belongs to the lock: a thread that waits for it waits at an address in here.
pub const GIL_BYTES: u64 = 208;
/// The beginning of an interpreter's description of itself.
const COOKIE: &[u8; 8] = b"xdebugpy";
/// Bytes of it that are read.
pub const DESCRIPTION_BYTES: usize = 8 * 100;

const V3_9: Layout = Layout {
    minor: 9,
    interpreters: 32,
    gil: Gil::Runtime(352),
    interpreter_next: 0,
    interpreter_threads: 8,
    thread_next: 8,
    thread_native: None,
    thread_id: 176,
    thread_current: Current::Direct(24),
    thread_chunk: None,
    frame_code: 32,
    frame_previous: 24,
    frame_owner: None,
    frame_bytes: 40,
    code_filename: 104,
    code_name: 112,
    code_line: 40,
    text_state: 32,
    text_length: 16,
    text_ascii: 48,
};
const V3_11: Layout = Layout {
    minor: 11,
    interpreters: 40,
    gil: Gil::Runtime(360),
    interpreter_threads: 16,
    thread_native: Some(160),
    thread_id: 152,
    thread_current: Current::Through(56, 8),
    thread_chunk: Some(296),
    frame_previous: 48,
    frame_owner: Some(69),
    frame_bytes: 80,
    code_filename: 112,
    code_name: 128,
    code_line: 72,
    ..V3_9
};
const V3_12: Layout = Layout {
    minor: 12,
    gil: Gil::Interpreter(384),
    interpreter_threads: 72,
    thread_native: Some(144),
    thread_id: 136,
    thread_current: Current::Through(56, 0),
    thread_chunk: Some(232),
    frame_code: 0,
    frame_previous: 8,
    frame_owner: Some(70),
    code_line: 68,
    text_ascii: 40,
    ..V3_11
};

impl Layout {
    /// Of a version that does not describe itself.
    pub fn of(minor: u32) -> Option<Self> {
        match minor {
            9 => Some(V3_9),
            10 => Some(Self { minor: 10, ..V3_9 }),
            11 => Some(V3_11),
            12 => Some(V3_12),
            _ => None,
        }
    }

    /// What an interpreter says of itself at the beginning of its runtime; None if that is no description, or one of a
    /// version that is not known here.
    pub fn described(bytes: &[u8]) -> Option<Self> {
        let number = |at: usize| Some(u64::from_le_bytes(bytes.get(8 * at..8 * at + 8)?.try_into().ok()?));
        let offset = |at: usize| Some(number(at)? as usize).filter(|offset| *offset < 1 << 20);
        if bytes.get(..8)? != COOKIE {
            return None;
        }
        // PY_VERSION_HEX; then free_threaded, and the structs one after the other, each led by its size.
        let minor = (number(1)? >> 16) as u32 & 0xff;
        // 3.14 has threads_main in the interpreter and two generations at its end, and two more in the frame.
        let (main, generations, frame) = match minor {
            13 => (0, 0, 0),
            14 => (1, 2, 2),
            _ => return None,
        };
        let interpreter = 6;
        let thread = interpreter + 13 + main + generations;
        let in_thread = thread + 9;
        let code = in_thread + 6 + frame;
        Some(Self {
            minor,
            interpreters: number(5)?,
            gil: if number(2)? != 0 { Gil::None } else { Gil::Interpreter(offset(interpreter + 8 + main)?) },
            interpreter_next: offset(interpreter + 2)?,
            interpreter_threads: offset(interpreter + 3)?,
            thread_next: offset(thread + 2)?,
            thread_current: Current::Direct(offset(thread + 4)?),
            thread_id: offset(thread + 5)?,
            thread_native: Some(offset(thread + 6)?),
            thread_chunk: Some(offset(thread + 7)?),
            frame_previous: offset(in_thread + 1)?,
            frame_code: offset(in_thread + 2)?,
            frame_owner: Some(offset(in_thread + 5)?),
            frame_bytes: offset(in_thread)?.clamp(16, 256),
            code_filename: offset(code + 1)?,
            code_name: offset(code + 3)?,
            code_line: offset(code + 5)?,
            ..V3_12
        })
    }

    /// Bytes of a thread's state that are read.
    pub fn thread_bytes(&self) -> usize {
        let (Current::Direct(current) | Current::Through(current, _)) = self.thread_current;
        let ends = [Some(current), self.thread_native, Some(self.thread_id), self.thread_chunk, Some(self.thread_next)];
        ends.into_iter().flatten().max().unwrap_or(0) + 8
    }

    /// Bytes of a code object that are read.
    pub fn code_bytes(&self) -> usize {
        self.code_filename.max(self.code_name).max(self.code_line) + 8
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_width_of_a_text_is_found_in_each_form_of_its_state() {
        assert_eq!(text_state(0x65d4_1d86 & !0xff | 0x66), Some((1, true)), "with rubbish behind it");
        assert_eq!(text_state(0b010_1001 << 2 & 0x7f), Some((1, false)));
        assert_eq!(text_state(1 | 0b1_1001 << 8), Some((1, true)));
        assert_eq!(text_state(3 | 0b0_1100 << 16), Some((4, false)));
        assert_eq!(text_state(0), None);
    }

    #[test]
    fn a_description_is_read_by_position() {
        let mut bytes = COOKIE.to_vec();
        for at in 1..100u64 {
            bytes.extend(
                if at == 1 {
                    0x030d_00f0
                } else if at == 2 {
                    0
                } else {
                    1000 + at
                }
                .to_le_bytes(),
            );
        }
        let layout = Layout::described(&bytes).unwrap();
        assert_eq!((layout.minor, layout.interpreters, layout.gil), (13, 1005, Gil::Interpreter(1014)));
        assert_eq!((layout.interpreter_threads, layout.thread_next, layout.thread_native), (1009, 1021, Some(1025)));
        assert_eq!((layout.frame_code, layout.code_filename, layout.code_line), (1030, 1035, 1039));
        bytes[10] = 14;
        let layout = Layout::described(&bytes).unwrap();
        assert_eq!((layout.gil, layout.thread_next, layout.frame_previous), (Gil::Interpreter(1015), 1024, 1032));
        assert_eq!((layout.frame_owner, layout.code_filename, layout.code_line), (Some(1036), 1040, 1044));
        bytes[10] = 15;
        assert!(Layout::described(&bytes).is_none() && Layout::described(&bytes[..100]).is_none());
    }

    #[test]
    fn versions_that_are_not_known_are_refused() {
        assert!((9..=12).all(|minor| Layout::of(minor).is_some_and(|layout| layout.minor == minor)));
        assert!(Layout::of(8).is_none() && Layout::of(15).is_none());
    }
}
