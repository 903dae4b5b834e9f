//! The live table in the terminal. The terminal is restored at every way out: a key, a signal, an error, a panic.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use ratatui::Frame;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use ratatui::layout::{Alignment, Constraint, Layout};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Text};
use ratatui::widgets::{Cell, Paragraph, Table};

use super::Scraped;
use super::history::History;
use super::row::{HEAD, LEAST_MISSED, LEGEND, Row, Sort};
use super::scrape::Target;

/// How long a key or a scrape waits at most to be seen.
const TICK: Duration = Duration::from_millis(100);

/// What is on the screen.
#[derive(Debug, Default)]
struct View {
    target: String,
    rows: Vec<Row>,
    sort: Sort,
    paused: bool,
    /// The last scrape failed.
    error: Option<String>,
    done: bool,
}

/// Draws until the user or a signal ends it.
pub(super) fn run(target: &Target, scrapes: &Receiver<Scraped>, ended: &AtomicBool) -> Result<()> {
    // Restores the terminal in a panic too.
    let mut terminal = ratatui::try_init().context("cannot draw on this terminal; --plain needs none")?;
    let result = draw_until_done(&mut terminal, View::new(target), scrapes, ended);
    ratatui::restore();
    result.context("the terminal failed; --plain needs none")
}

fn draw_until_done(
    terminal: &mut ratatui::DefaultTerminal,
    mut view: View,
    scrapes: &Receiver<Scraped>,
    ended: &AtomicBool,
) -> io::Result<()> {
    let mut history = History::default();
    while !view.done && !ended.load(Ordering::Relaxed) {
        terminal.draw(|frame| view.draw(frame))?;
        let until = Instant::now() + TICK;
        while event::poll(until.saturating_duration_since(Instant::now()))? {
            if let Event::Key(key) = event::read()? {
                view.press(key);
            }
        }
        for (at, scraped) in scrapes.try_iter() {
            match scraped {
                Ok(snapshot) => {
                    history.add(at, snapshot);
                    view.show(history.rows());
                }
                Err(error) => view.error = Some(error.to_string()),
            }
        }
    }
    Ok(())
}

impl View {
    fn new(target: &Target) -> Self {
        View { target: target.to_string(), ..View::default() }
    }

    /// Takes new rows, unless paused.
    fn show(&mut self, rows: Vec<Row>) {
        self.error = None;
        if !self.paused {
            self.rows = rows;
            self.sort.apply(&mut self.rows);
        }
    }

    fn press(&mut self, key: KeyEvent) {
        if key.kind == KeyEventKind::Release {
            return;
        }
        match key.code {
            KeyCode::Char('c' | 'd') if key.modifiers.contains(KeyModifiers::CONTROL) => self.done = true,
            KeyCode::Char('q') | KeyCode::Esc => self.done = true,
            KeyCode::Char('p' | ' ') => self.paused = !self.paused,
            KeyCode::Char('s') => {
                self.sort = self.sort.next();
                self.sort.apply(&mut self.rows);
            }
            _ => {}
        }
    }

    fn draw(&self, frame: &mut Frame<'_>) {
        let [top, middle, bottom] =
            Layout::vertical([Constraint::Length(2), Constraint::Min(1), Constraint::Length(2)]).areas(frame.area());
        frame.render_widget(Paragraph::new(self.headline()), top);
        if self.rows.is_empty() {
            frame.render_widget(Paragraph::new("no service is watched yet"), middle);
        } else {
            frame.render_widget(self.table(middle.width), middle);
        }
        let keys = Line::from("q quit   s sort   p pause").style(Style::new().add_modifier(Modifier::DIM));
        let legend = Line::from(LEGEND).style(Style::new().add_modifier(Modifier::DIM));
        frame.render_widget(Paragraph::new(vec![legend, keys]), bottom);
    }

    fn headline(&self) -> Line<'_> {
        let state = match (&self.error, self.paused) {
            (Some(error), _) => error.as_str(),
            (None, true) => "paused",
            (None, false) => "",
        };
        let requests: f64 = self.rows.iter().filter_map(|row| row.requests_per_s).fold(0.0, |sum, rate| sum + rate);
        let text = format!("inferscope  {}  {} services  {requests:.1} req/s  {state}", self.target, self.rows.len());
        let style = Style::new().add_modifier(Modifier::BOLD);
        Line::from(text).style(if self.error.is_some() { style.fg(Color::Red) } else { style })
    }

    fn table(&self, width: u16) -> Table<'_> {
        let cells: Vec<[String; HEAD.len()]> = self.rows.iter().map(Row::cells).collect();
        let widths: [usize; HEAD.len()] = std::array::from_fn(|column| {
            let widest = cells.iter().map(|row| row[column].chars().count()).max().unwrap_or_default();
            widest.max(HEAD[column].len())
        });
        let columns = fitting(&widths, width.into());
        let head = columns.iter().map(|&column| {
            let style = Style::new().add_modifier(Modifier::BOLD);
            let is_sorted = HEAD[column] == self.sort.title();
            aligned(column, HEAD[column]).style(if is_sorted {
                style.add_modifier(Modifier::UNDERLINED)
            } else {
                style
            })
        });
        let head = ratatui::widgets::Row::new(head);
        let rows: Vec<_> = cells
            .iter()
            .map(|row| ratatui::widgets::Row::new(columns.iter().map(|&column| aligned(column, &row[column]))))
            .collect();
        // A screen that is still too narrow takes from the names first.
        let constraint = |column: usize| match column {
            0 => Constraint::Max(widths[0] as u16),
            _ => Constraint::Length(widths[column] as u16),
        };
        Table::new(rows, columns.iter().map(|&column| constraint(column))).header(head).column_spacing(GAP as u16)
    }
}

/// Spaces between columns.
const GAP: usize = 2;

/// The columns that fit into a width, the least missed left out.
fn fitting(widths: &[usize], width: usize) -> Vec<usize> {
    let mut columns: Vec<usize> = (0..widths.len()).collect();
    let needed = |columns: &[usize]| columns.iter().map(|&column| widths[column] + GAP).sum::<usize>() - GAP;
    for title in LEAST_MISSED {
        if needed(&columns) <= width {
            break;
        }
        columns.retain(|&column| HEAD[column] != title);
    }
    columns
}

fn aligned(column: usize, text: &str) -> Cell<'static> {
    let alignment = if column == 0 { Alignment::Left } else { Alignment::Right };
    Cell::from(Text::from(text.to_owned()).alignment(alignment))
}

#[cfg(test)]
mod tests {
    use super::super::row::row_for_tests;
    use super::*;
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;

    fn view() -> View {
        let mut view = View::new(&Target::parse("http://127.0.0.1:9770").unwrap());
        view.show(vec![row_for_tests("b", 2.0), row_for_tests("a", 1.0)]);
        view
    }

    fn screen(view: &View, width: u16, height: u16) -> String {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        terminal.draw(|frame| view.draw(frame)).unwrap();
        terminal.backend().to_string()
    }

    fn press(view: &mut View, key: char) {
        view.press(KeyEvent::new(KeyCode::Char(key), KeyModifiers::NONE));
    }

    #[test]
    fn the_screen_shows_every_column() {
        let screen = screen(&view(), 140, 10);
        for word in HEAD.iter().chain(&["12.3ms", "1.50s*", "4.0 req/s", "2 services", "q quit", "127.0.0.1:9770"]) {
            assert!(screen.contains(word), "{word} is not on\n{screen}");
        }
    }

    #[test]
    fn a_narrow_screen_keeps_what_matters() {
        let screen = screen(&view(), 64, 10);
        for word in ["SERVICE", "REQ/S", "TTFT95", "TPOT50", "OUT/S"] {
            assert!(screen.contains(word), "{word} is not on\n{screen}");
        }
        assert!(!screen.contains("GPUMEM"), "{screen}");
        assert!(LEAST_MISSED.iter().all(|title| HEAD.contains(title)));
    }

    #[test]
    fn any_size_is_drawn() {
        let mut empty = view();
        empty.rows.clear();
        for (width, height) in [(1, 1), (10, 3), (40, 5), (300, 100)] {
            screen(&view(), width, height);
            screen(&empty, width, height);
        }
        assert!(screen(&empty, 80, 10).contains("no service is watched yet"));
    }

    #[test]
    fn keys() {
        let mut view = view();
        let names = |view: &View| view.rows.iter().map(|row| row.service.clone()).collect::<String>();
        assert_eq!(names(&view), "ab");
        while view.sort != Sort::Cpu {
            press(&mut view, 's');
        }
        assert_eq!(names(&view), "ba");
        press(&mut view, 'p');
        view.show(Vec::new());
        assert_eq!(names(&view), "ba");
        assert!(screen(&view, 100, 8).contains("paused"));
        press(&mut view, 'p');
        view.show(Vec::new());
        assert_eq!(names(&view), "");
        view.error = Some("no agent answers".to_owned());
        assert!(screen(&view, 100, 8).contains("no agent answers"));
        assert!(!view.done);
        press(&mut view, 'q');
        assert!(view.done);
        let mut view = View::default();
        view.press(KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL));
        assert!(view.done);
    }
}
