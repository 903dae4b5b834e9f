//! The table as plain text, for pipes, logs and `--once`.

use std::io::{self, Write};

use super::row::{HEAD, Row};

/// A head and one line per service, columns aligned; a sentence if there are none.
pub fn write_table(rows: &[Row], out: &mut impl Write) -> io::Result<()> {
    if rows.is_empty() {
        return writeln!(out, "no service is watched yet");
    }
    let cells: Vec<[String; HEAD.len()]> = rows.iter().map(Row::cells).collect();
    let widths: [usize; HEAD.len()] = std::array::from_fn(|column| {
        let widest = cells.iter().map(|row| row[column].chars().count()).max();
        widest.unwrap_or_default().max(HEAD[column].len())
    });
    let mut line = |texts: [&str; HEAD.len()]| {
        write!(out, "{:<width$}", texts[0], width = widths[0])?;
        for (text, width) in texts.iter().zip(widths).skip(1) {
            write!(out, "  {text:>width$}")?;
        }
        writeln!(out)
    };
    line(HEAD)?;
    cells.iter().try_for_each(|row| line(std::array::from_fn(|column| row[column].as_str())))
}

#[cfg(test)]
mod tests {
    use super::super::row::row_for_tests;
    use super::*;

    #[test]
    fn columns_line_up() {
        let mut text = Vec::new();
        write_table(&[row_for_tests("llama_cpp-SmolLM2", 1.0), row_for_tests("b", 12.5)], &mut text).unwrap();
        let text = String::from_utf8(text).unwrap();
        let lengths: Vec<usize> = text.lines().map(str::len).collect();
        assert_eq!(lengths.len(), 3);
        assert!(lengths.iter().all(|length| *length == lengths[0]), "{text}");
        let mut nothing = Vec::new();
        write_table(&[], &mut nothing).unwrap();
        assert_eq!(nothing, b"no service is watched yet\n");
    }
}
