//! Places in code, stacks of them and threads, each once and numbered; bounded, and what finds no room is counted.

use std::{hash::Hash, sync::Arc};

use rustc_hash::FxHashMap;

use super::{maps::Maps, python::Function};

/// Where an address is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Place {
    /// An address of the kernel.
    Kernel(u64),
    /// A module and the offset in its file.
    Native(u32, u64),
    /// No code was known at this address.
    Unknown(u64),
    /// A Python function by its number.
    Python(u32),
    /// More than there was room for.
    Rest,
}

/// Bounds.
const PLACES: usize = 500_000;
const STACKS: usize = 100_000;
const STACKED: usize = 4_000_000;
const FUNCTIONS: usize = 100_000;

/// Values by their number.
#[derive(Debug)]
pub struct Numbered<T> {
    numbers: FxHashMap<T, u32>,
    pub values: Vec<T>,
}

impl<T> Default for Numbered<T> {
    fn default() -> Self {
        Self { numbers: FxHashMap::default(), values: Vec::new() }
    }
}

impl<T: Clone + Eq + Hash> Numbered<T> {
    /// The number of a value, a new one if it has none and there are fewer than `most`.
    pub fn number(&mut self, value: &T, most: usize) -> Option<u32> {
        if let Some(number) = self.numbers.get(value) {
            return Some(*number);
        }
        if self.values.len() >= most {
            return None;
        }
        let number = self.values.len() as u32;
        self.values.push(value.clone());
        self.numbers.insert(value.clone(), number);
        Some(number)
    }
}

/// Everything that samples refer to by number.
#[derive(Default)]
pub struct Table {
    pub places: Numbered<Place>,
    /// Places of each stack, innermost first.
    pub stacks: Numbered<Arc<[u32]>>,
    stacked: usize,
    pub functions: Vec<Arc<Function>>,
    /// By the function's own id: most come again.
    known_functions: FxHashMap<u64, u32>,
    same_functions: FxHashMap<(String, String, u32), u32>,
    /// Stacks for which there was no room.
    pub left_out: u64,
    /// User stacks that ended where no code is: built without frame pointers, mostly.
    pub cut: u64,
    /// User stacks of one or two frames.
    pub short: u64,
}

impl Table {
    fn place(&mut self, place: Place) -> u32 {
        // The first place of all is the rest, so that it always has room.
        let rest = self.places.number(&Place::Rest, PLACES).unwrap_or(0);
        self.places.number(&place, PLACES).unwrap_or(rest)
    }

    fn stack(&mut self, places: Vec<u32>) -> u32 {
        let room = if self.stacked < STACKED { STACKS } else { 0 };
        let before = self.stacks.values.len();
        let len = places.len();
        if let Some(stack) = self.stacks.number(&Arc::from(places), room) {
            self.stacked += len * (self.stacks.values.len() - before);
            return stack;
        }
        self.left_out += 1;
        let rest: Arc<[u32]> = Arc::from([self.place(Place::Rest)]);
        self.stacks.number(&rest, STACKS + 1).unwrap_or(0)
    }

    /// The stack of a thread that was on a CPU: addresses innermost first, `kernel` of them the kernel's.
    pub fn native(&mut self, maps: &mut Maps, pid: u32, addresses: &[u64], kernel: usize) -> u32 {
        let mut places = Vec::with_capacity(addresses.len());
        for (index, address) in addresses.iter().enumerate() {
            let innermost = index == 0 || index == kernel;
            // Others are where a call returns to, which may be behind the end of the function.
            let address = if innermost { *address } else { address.wrapping_sub(1) };
            let place = if index < kernel {
                Place::Kernel(address)
            } else {
                match maps.find(pid, address) {
                    Some((module, offset)) => Place::Native(module, offset),
                    None if innermost => Place::Unknown(address),
                    None => {
                        self.cut += 1;
                        break;
                    }
                }
            };
            places.push(self.place(place));
        }
        let user = places.len().saturating_sub(kernel);
        self.short += u64::from((1..=2).contains(&user));
        self.stack(places)
    }

    /// A Python stack, innermost first.
    pub fn python(&mut self, functions: &[Arc<Function>]) -> u32 {
        let mut places = Vec::with_capacity(functions.len());
        for function in functions {
            let place = self.function(function).map_or(Place::Rest, Place::Python);
            places.push(self.place(place));
        }
        self.stack(places)
    }

    fn function(&mut self, function: &Arc<Function>) -> Option<u32> {
        if let Some(known) = self.known_functions.get(&function.id) {
            return Some(*known);
        }
        if self.known_functions.len() >= FUNCTIONS {
            self.known_functions.clear();
        }
        let same = (function.name.clone(), function.file.clone(), function.line);
        let number = match self.same_functions.get(&same) {
            Some(number) => *number,
            None if self.functions.len() >= FUNCTIONS => return None,
            None => {
                self.functions.push(Arc::clone(function));
                self.same_functions.insert(same, self.functions.len() as u32 - 1);
                self.functions.len() as u32 - 1
            }
        };
        self.known_functions.insert(function.id, number);
        Some(number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn function(id: u64, name: &str) -> Arc<Function> {
        Arc::new(Function { id, name: name.to_owned(), file: "a.py".to_owned(), line: 1 })
    }

    #[test]
    fn what_is_the_same_has_one_number() {
        let mut table = Table::default();
        let first = table.python(&[function(1, "f"), function(2, "main")]);
        assert_eq!(table.python(&[function(3, "f"), function(4, "main")]), first);
        assert_ne!(table.python(&[function(5, "g"), function(4, "main")]), first);
        assert_eq!((table.functions.len(), table.stacks.values.len(), table.left_out), (3, 2, 0));
    }

    #[test]
    fn a_stack_ends_where_no_code_is() {
        let (mut table, mut maps) = (Table::default(), Maps::default());
        let code = what_is_the_same_has_one_number as fn() as usize as u64;
        let stack = table.native(&mut maps, std::process::id(), &[u64::MAX - 9, code + 4, code + 5, 16, code], 1);
        let places: Vec<_> =
            table.stacks.values[stack as usize].iter().map(|n| table.places.values[*n as usize]).collect();
        assert!(
            matches!(places[..], [Place::Kernel(_), Place::Native(_, a), Place::Native(_, b)] if a == b),
            "{places:?}"
        );
        assert_eq!((table.cut, table.short), (1, 1));
        let stack = table.native(&mut maps, std::process::id(), &[16, code], 0);
        let first = table.stacks.values[stack as usize][0];
        assert_eq!(table.places.values[first as usize], Place::Unknown(16));
    }

    #[test]
    fn numbers_end_at_the_bound() {
        let mut numbers = Numbered::default();
        assert_eq!([7, 8, 7, 9, 8].map(|value| numbers.number(&value, 2)), [Some(0), Some(1), Some(0), None, Some(1)]);
    }
}
