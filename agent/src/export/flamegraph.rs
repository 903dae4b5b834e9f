//! A profile as a flame graph: phase, process and thread, then the stack. Widths are time on the CPUs, and time that
//! Python threads waited for the GIL.
#![forbid(unsafe_code)]

use std::io;

use inferno::flamegraph::{Options, from_lines};

use crate::profile::{Frame, Kind, Profile, Spent, spent};

/// The frame on top of stacks that wait for the GIL.
const WAITS: &str = "[waits for the GIL]";

/// A frame's text; the format has its own meaning for a semicolon.
fn text(frame: &Frame) -> String {
    let name = frame.label().replace(';', ":");
    match frame.kind {
        Kind::Kernel => format!("{name} [kernel]"),
        Kind::Native if !frame.named => format!("{name} [no symbol]"),
        Kind::Native => name,
        Kind::Python => {
            let file = frame.file.rsplit('/').next().unwrap_or_default().replace(';', ":");
            format!("{name} ({file}:{})", frame.line)
        }
    }
}

/// One line per stack: frames from the outermost to the innermost, and microseconds.
pub fn lines(profile: &Profile) -> Vec<String> {
    let clock = profile.has_clock();
    let mut lines = Vec::new();
    for ((thread, phase, stack), time) in spent(&profile.merged) {
        let thread = &profile.threads[thread as usize];
        let phase = if profile.requests == 0 { "no requests" } else { phase.name() };
        let of = |text: &str| text.replace(';', ":");
        let mut line =
            format!("{phase};{} ({});{} ({})", of(&thread.process), thread.pid, of(&thread.name), thread.tid);
        for number in &profile.merged.stacks[stack as usize] {
            line.push(';');
            line.push_str(&text(&profile.frames[*number as usize]));
        }
        let Spent { on_cpu_ns, holds_gil_ns, waits_gil_ns, .. } = time;
        let ran = if clock { on_cpu_ns } else { holds_gil_ns };
        if ran >= 1000 {
            lines.push(format!("{line} {}", ran / 1000));
        }
        if waits_gil_ns >= 1000 {
            lines.push(format!("{line};{WAITS} {}", waits_gil_ns / 1000));
        }
    }
    lines
}

/// Writes the SVG. Errors: the writer's.
pub fn write(profile: &Profile, mut out: impl io::Write) -> io::Result<()> {
    let lines = lines(profile);
    if lines.is_empty() {
        return out.write_all(
            b"<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"600\" height=\"40\"><text x=\"10\" y=\"25\">nothing ran \
              while this was recorded</text></svg>\n",
        );
    }
    let mut options = Options::default();
    "what ran, by phase".clone_into(&mut options.title);
    options.subtitle = Some(format!("{} Hz; microseconds on a CPU, or waiting for the GIL", profile.frequency_hz));
    "us".clone_into(&mut options.count_name);
    options.hash = true;
    from_lines(&mut options, lines.iter().map(String::as_str), out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::example;

    #[test]
    fn a_line_is_a_stack_below_its_phase() {
        let want = [
            "decode;p (10);t (11);main;work: x;read [kernel] 20000",
            "idle;p (10);t (11);python (a.so:7) 10000",
            "idle;p (10);t (11);python (a.so:7);[waits for the GIL] 10000",
        ];
        assert_eq!(lines(&example()), want);
    }

    #[test]
    fn it_is_a_picture_even_of_nothing() {
        for profile in [example(), Profile::default()] {
            let mut svg = Vec::new();
            write(&profile, &mut svg).unwrap();
            let svg = String::from_utf8(svg).unwrap();
            assert!(svg.contains("<svg") && svg.trim_end().ends_with("</svg>"), "{svg}");
        }
    }
}
