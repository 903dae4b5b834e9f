//! Threads of an interpreter that stands in this process: as many as are wanted, each in the function `f`.

use super::*;

/// Words of a thread's state, and where the interpreter's are.
const STATE_WORDS: usize = 30;
/// "1 byte per character, in one piece, ASCII".
const ASCII: u64 = 0b1_1001 << 2;

/// What CPython 3.12 would have in memory. It is read as another process' would be, through the kernel.
struct Fake {
    runtime: Vec<u64>,
    interpreter: Vec<u64>,
    /// One behind the other, the head of the list first.
    states: Vec<u64>,
    _rest: [Vec<u64>; 4],
}

fn address(words: &[u64]) -> u64 {
    words.as_ptr() as u64
}

fn text(text: &[u8; 8], length: u64) -> Vec<u64> {
    let mut words = vec![0; 6];
    (words[2], words[4], words[5]) = (length, ASCII, u64::from_le_bytes(*text));
    words
}

impl Fake {
    fn new(threads: usize) -> Self {
        let layout = Layout::of(12).unwrap();
        let (name, file) = (text(b"f\0\0\0\0\0\0\0", 1), text(b"f.py\0\0\0\0", 4));
        let mut code = vec![0; 18];
        (code[14], code[16]) = (address(&file), address(&name));
        // Its code first; the last frame, so none before it.
        let mut frame = vec![0; 11];
        frame[0] = address(&code);
        // What a state points to, which points to the frame.
        frame[10] = address(&frame);
        let mut states = vec![0; STATE_WORDS * threads];
        let head = address(&states);
        for (at, state) in states.chunks_mut(STATE_WORDS).enumerate() {
            let next = head + (8 * STATE_WORDS * (at + 1)) as u64;
            state[layout.thread_next / 8] = if at + 1 == threads { 0 } else { next };
            state[layout.thread_native.unwrap() / 8] = u64::from(std::process::id());
            state[7] = address(&frame[10..]);
        }
        let (mut interpreter, mut runtime) = (vec![0; 49], vec![0; 6]);
        interpreter[layout.interpreter_threads / 8] = head;
        runtime[layout.interpreters as usize / 8] = address(&interpreter);
        Self { runtime, interpreter, states, _rest: [name, file, code, frame] }
    }

    fn walker(&self) -> Walker {
        let runtime = address(&self.runtime);
        Walker::new(std::process::id(), &Interpreter { runtime, layout: Layout::of(12).unwrap() })
    }

    /// The head of the list of threads.
    fn head(&self) -> u64 {
        self.interpreter[Layout::of(12).unwrap().interpreter_threads / 8]
    }
}

#[test]
fn every_thread_is_walked_up_to_the_bound_and_then_it_is_said_that_there_are_more() {
    for (threads, walked, cut) in
        [(1, 1, false), (600, 600, false), (THREADS, THREADS, false), (THREADS + 3, THREADS, true)]
    {
        let fake = Fake::new(threads);
        let mut walker = fake.walker();
        for _ in 0..2 {
            let stacks = walker.tick(8).unwrap();
            assert_eq!((stacks.len(), walker.cut, walker.torn), (walked, cut, 0), "of {threads}");
            assert!(stacks.iter().all(|stack| stack.functions.len() == 1 && stack.functions[0].name == "f"));
        }
    }
}

#[test]
fn a_list_that_has_not_changed_is_read_at_once_even_if_it_was_cut() {
    for threads in [3, THREADS, THREADS + 3] {
        let mut fake = Fake::new(threads);
        let mut walker = fake.walker();
        walker.tick(8).unwrap();
        let known = threads.min(THREADS);
        let at_once = walker.linked_as_before(&[fake.head()]);
        assert_eq!(at_once.unwrap().len(), known * 8 * STATE_WORDS, "of {threads}");
        // The last that is known becomes the last of all, or no longer is.
        let next = &mut fake.states[(known - 1) * STATE_WORDS + 1];
        *next = if *next == 0 { 8 } else { 0 };
        assert!(walker.linked_as_before(&[fake.head()]).is_none(), "of {threads}");
    }
}

#[test]
fn files_of_a_thread_that_runs_no_python_any_more_are_closed() {
    let mut fake = Fake::new(1);
    let mut walker = fake.walker();
    assert_eq!((walker.tick(8).unwrap().len(), walker.rest.kept()), (1, 1));
    // It is in no frame.
    let nowhere = [0];
    fake.states[7] = address(&nowhere);
    assert_eq!((walker.tick(8).unwrap().len(), walker.rest.kept()), (0, 0));
}
