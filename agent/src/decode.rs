//! Ring bytes to [`Event`]: the only place that reads raw records. Total: any bytes give an event or an error.

use inferscope_abi::{
    BlockEvent, CloseEvent, ExecEvent, ExitEvent, ForkEvent, Header, Kind, ListenEvent, LogEvent, PayloadHeader,
    SampleHeader, SchedEvent, StallEvent, SyscallEvent,
};

/// One record of the ring, payload bytes borrowed.
#[derive(Debug)]
pub enum Event<'a> {
    Exec(ExecEvent),
    Fork(ForkEvent),
    Exit(Box<ExitEvent>),
    Payload(Payload<'a>),
    Close(CloseEvent),
    Sched(SchedEvent),
    Syscall(SyscallEvent),
    Block(BlockEvent),
    Stall(StallEvent),
    Sample(Sample<'a>),
    Log(LogWrite<'a>),
    Listen(ListenEvent),
}

/// What a watched process wrote to its output or to a log file.
#[derive(Debug, Clone, Copy)]
pub struct LogWrite<'a> {
    pub head: LogEvent,
    /// The first `head.captured` of the `head.written` bytes.
    pub data: &'a [u8],
}

/// Where a thread was: addresses innermost first.
#[derive(Debug, Clone, Copy)]
pub struct Sample<'a> {
    pub head: SampleHeader,
    /// Addresses of eight bytes: the kernel's, then the user's.
    addresses: &'a [u8],
}

impl<'a> Sample<'a> {
    fn all(&self) -> impl Iterator<Item = u64> + use<'a> {
        self.addresses.chunks_exact(8).filter_map(|bytes| Some(u64::from_ne_bytes(bytes.try_into().ok()?)))
    }

    /// The kernel's part, innermost first.
    pub fn kernel(&self) -> impl Iterator<Item = u64> + use<'a> {
        self.all().take(self.head.kernel_frames as usize)
    }

    /// The user's part, innermost first.
    pub fn user(&self) -> impl Iterator<Item = u64> + use<'a> {
        self.all().skip(self.head.kernel_frames as usize)
    }
}

/// Bytes that a watched process moved, with where and when.
#[derive(Debug, Clone, Copy)]
pub struct Payload<'a> {
    pub head: PayloadHeader,
    /// The captured bytes: the first `head.captured` of the `head.length` that this record stands for.
    pub data: &'a [u8],
}

/// Why bytes are no record.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum DecodeError {
    #[error("record of {got} bytes is shorter than the {want} of its kind")]
    Short { got: usize, want: usize },
    #[error("unknown record kind {0}")]
    Kind(u32),
    #[error("payload record claims {claimed} captured bytes and holds {held}")]
    Payload { claimed: u32, held: usize },
    #[error("log record claims {claimed} captured bytes and holds {held}")]
    Log { claimed: u32, held: usize },
    #[error("sample claims {claimed} frames and holds {held} bytes")]
    Sample { claimed: u64, held: usize },
    #[error("payload record has direction {0}")]
    Direction(u8),
}

/// Plain integers and byte arrays without padding: every bit pattern is a value.
///
/// # Safety
/// Implement only for such `#[repr(C)]` types.
unsafe trait Wire: Copy {}
// SAFETY: the ABI crate defines these as integers and byte arrays with explicit padding.
unsafe impl Wire for Header {}
// SAFETY: as above.
unsafe impl Wire for ExecEvent {}
// SAFETY: as above.
unsafe impl Wire for ForkEvent {}
// SAFETY: as above.
unsafe impl Wire for ExitEvent {}
// SAFETY: as above.
unsafe impl Wire for PayloadHeader {}
// SAFETY: as above.
unsafe impl Wire for CloseEvent {}
// SAFETY: as above.
unsafe impl Wire for SchedEvent {}
// SAFETY: as above.
unsafe impl Wire for SyscallEvent {}
// SAFETY: as above.
unsafe impl Wire for BlockEvent {}
// SAFETY: as above.
unsafe impl Wire for StallEvent {}
// SAFETY: as above.
unsafe impl Wire for SampleHeader {}
// SAFETY: as above.
unsafe impl Wire for LogEvent {}
// SAFETY: as above.
unsafe impl Wire for ListenEvent {}

fn take<T: Wire>(bytes: &[u8]) -> Result<T, DecodeError> {
    if bytes.len() < size_of::<T>() {
        return Err(DecodeError::Short { got: bytes.len(), want: size_of::<T>() });
    }
    // SAFETY: the length was checked, the read is unaligned, and every bit pattern of a `Wire` type is valid.
    Ok(unsafe { bytes.as_ptr().cast::<T>().read_unaligned() })
}

/// Decodes one record.
pub fn decode(bytes: &[u8]) -> Result<Event<'_>, DecodeError> {
    let header: Header = take(bytes)?;
    Ok(match Kind::try_from(header.kind).map_err(DecodeError::Kind)? {
        Kind::Exec => Event::Exec(take(bytes)?),
        Kind::Fork => Event::Fork(take(bytes)?),
        Kind::Exit => Event::Exit(Box::new(take(bytes)?)),
        Kind::Close => Event::Close(take(bytes)?),
        Kind::Listen => Event::Listen(take(bytes)?),
        Kind::Sched => Event::Sched(take(bytes)?),
        Kind::Syscall => Event::Syscall(take(bytes)?),
        Kind::Block => Event::Block(take(bytes)?),
        Kind::Stall => Event::Stall(take(bytes)?),
        Kind::Sample => {
            let head: SampleHeader = take(bytes)?;
            let rest = &bytes[size_of::<SampleHeader>()..];
            let claimed = u64::from(head.kernel_frames) + u64::from(head.user_frames);
            let addresses = usize::try_from(claimed * 8).ok().and_then(|len| rest.get(..len));
            Event::Sample(Sample {
                head,
                addresses: addresses.ok_or(DecodeError::Sample { claimed, held: rest.len() })?,
            })
        }
        Kind::Log => {
            let head: LogEvent = take(bytes)?;
            let rest = &bytes[size_of::<LogEvent>()..];
            let data = rest.get(..head.captured as usize);
            let data = data.ok_or(DecodeError::Log { claimed: head.captured, held: rest.len() })?;
            Event::Log(LogWrite { head, data })
        }
        Kind::Payload => {
            let head: PayloadHeader = take(bytes)?;
            let rest = &bytes[size_of::<PayloadHeader>()..];
            let data = rest
                .get(..head.captured as usize)
                .ok_or(DecodeError::Payload { claimed: head.captured, held: rest.len() })?;
            if head.direction > 1 {
                return Err(DecodeError::Direction(head.direction));
            }
            Event::Payload(Payload { head, data })
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(kernel_frames: u32, user_frames: u32, addresses: &[u64]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for word in [Kind::Sample as u32, 7, 8, 0] {
            bytes.extend(word.to_ne_bytes());
        }
        bytes.extend(99u64.to_ne_bytes());
        for word in [1, 2, kernel_frames, user_frames] {
            bytes.extend(word.to_ne_bytes());
        }
        addresses.iter().for_each(|address| bytes.extend(address.to_ne_bytes()));
        bytes
    }

    #[test]
    fn a_sample_has_the_frames_that_it_claims() {
        // The ring hands records over in multiples of eight bytes; more than is claimed may follow.
        let bytes = sample(1, 2, &[10, 20, 30, 40]);
        let Ok(Event::Sample(got)) = decode(&bytes) else { panic!("no sample") };
        assert_eq!((got.head.header.tid, got.head.service, got.head.cpu), (8, 1, 2));
        assert_eq!(got.kernel().collect::<Vec<_>>(), [10]);
        assert_eq!(got.user().collect::<Vec<_>>(), [20, 30]);
    }

    #[test]
    fn a_sample_that_claims_more_than_it_holds_is_an_error() {
        for (kernel, user) in [(0, 3), (3, 0), (u32::MAX, u32::MAX), (2, 1)] {
            let error = decode(&sample(kernel, user, &[10, 20])).unwrap_err();
            let claimed = u64::from(kernel) + u64::from(user);
            assert_eq!(error, DecodeError::Sample { claimed, held: 16 });
        }
    }
}
