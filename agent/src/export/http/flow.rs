//! Answers on their way to a caller: in small pieces, within the room that all answers have together, and not for ever.
//! Makes none of them.

use std::{
    future::Future as _,
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker, ready},
};

use axum::body::Body;
use bytes::Bytes;
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    sync::Semaphore,
    task::JoinError,
    time::{Sleep, sleep_until},
};

use super::places::{Held, Place};

/// Handed over at a time. A connection buffers about as much; what is beyond stays in the body, where it is counted.
const PIECE: usize = 16 << 10;

/// Does work off the runtime's only thread, when there is a turn for it. Work whose caller has gone keeps its turn until it
/// is done: nobody can have more of it done at once by going. Errors: the work panicked.
pub async fn in_turn<T: Send + 'static>(
    turns: &'static Semaphore,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, JoinError> {
    // It is never closed.
    let turn = turns.acquire().await;
    tokio::task::spawn_blocking(move || (work(), turn)).await.map(|(done, _turn)| done)
}

/// A body that keeps its room until its last piece is handed over.
pub struct Paced {
    inner: Body,
    rest: Bytes,
    held: Held,
}

impl Paced {
    /// The body in pieces; gives the room back when it is through, or dropped.
    pub fn new(inner: Body, held: Held) -> Self {
        Self { inner, rest: Bytes::new(), held }
    }
}

impl HttpBody for Paced {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        if self.rest.is_empty() {
            match ready!(Pin::new(&mut self.inner).poll_frame(cx)) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => self.rest = data,
                    Err(trailers) => return Poll::Ready(Some(Ok(trailers))),
                },
                end => return Poll::Ready(end),
            }
        }
        self.held.moves();
        let size = self.rest.len().min(PIECE);
        Poll::Ready(Some(Ok(Frame::data(self.rest.split_to(size)))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let (inner, rest) = (self.inner.size_hint(), self.rest.len() as u64);
        inner.exact().map_or_else(SizeHint::default, |exact| SizeHint::with_exact(exact + rest))
    }
}

/// A stream that waits for its peer to read until the place's answer is due, and takes no more requests meanwhile.
pub struct Patient<S> {
    inner: S,
    place: Arc<Place>,
    due: Pin<Box<Sleep>>,
    /// The peer takes nothing at the moment.
    stuck: bool,
    /// Wants to read, and was put off.
    reader: Option<Waker>,
}

impl<S> Patient<S> {
    /// With the deadlines of this place.
    pub fn new(inner: S, place: Arc<Place>) -> Self {
        let due = Box::pin(sleep_until(place.due()));
        Self { inner, place, due, stuck: false, reader: None }
    }

    fn wrote<T>(&mut self, cx: &mut Context<'_>, done: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        self.stuck = done.is_pending();
        if !self.stuck {
            if let Some(reader) = self.reader.take() {
                reader.wake();
            }
            return done;
        }
        let due = self.place.due();
        if self.due.deadline() != due {
            self.due.as_mut().reset(due);
        }
        ready!(self.due.as_mut().poll(cx));
        self.place.left_unread();
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the answer is not read")))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Patient<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        // Answers without a body, to requests that come in one stream, would gather without a bound.
        if self.stuck {
            self.reader = Some(cx.waker().clone());
            return Poll::Pending;
        }
        Pin::new(&mut self.inner).poll_read(cx, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Patient<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let done = Pin::new(&mut self.inner).poll_write(cx, bytes);
        self.wrote(cx, done)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let done = Pin::new(&mut self.inner).poll_write_vectored(cx, parts);
        self.wrote(cx, done)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let done = Pin::new(&mut self.inner).poll_flush(cx);
        self.wrote(cx, done)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let done = Pin::new(&mut self.inner).poll_shutdown(cx);
        self.wrote(cx, done)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};

    use super::*;
    use crate::export::http::places::Places;

    fn place() -> Arc<Place> {
        Arc::new(Arc::new(Places::default()).take().unwrap())
    }

    #[tokio::test(start_paused = true)]
    async fn who_reads_nothing_is_not_waited_for() {
        let (ours, mut theirs) = duplex(1000);
        let place = place();
        let mut stream = Patient::new(ours, Arc::clone(&place));
        let error = stream.write_all(&[b'x'; 2000]).await.unwrap_err();
        assert_eq!((error.kind(), place.is_unread()), (io::ErrorKind::TimedOut, true));
        drop(stream);
        let mut got = Vec::new();
        theirs.read_to_end(&mut got).await.unwrap();
        assert_eq!(got.len(), 1000);
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_is_read_while_nothing_is_taken() {
        let (ours, mut theirs) = duplex(1000);
        let (mut reads, mut writes) = tokio::io::split(Patient::new(ours, place()));
        theirs.write_all(b"HEAD").await.unwrap();
        let writing = tokio::spawn(async move { writes.write_all(&[b'x'; 1500]).await });
        // The first 1,000 bytes go, the others do not.
        tokio::task::yield_now().await;
        let mut asked = [0; 4];
        let mut reading = Box::pin(reads.read_exact(&mut asked));
        assert!(is_pending(&mut reading).await, "it is put off");
        let mut got = [0; 1500];
        theirs.read_exact(&mut got).await.unwrap();
        writing.await.unwrap().unwrap();
        reading.await.unwrap();
        assert_eq!(&asked, b"HEAD");
    }

    async fn is_pending<F: Future + Unpin>(future: &mut F) -> bool {
        std::future::poll_fn(|cx| Poll::Ready(Pin::new(&mut *future).poll(cx).is_pending())).await
    }

    #[tokio::test]
    async fn a_body_comes_in_pieces_and_says_its_size() {
        let place = place();
        let text: Vec<u8> = (0..PIECE * 2 + 5).map(|at| at as u8).collect();
        let held = place.hold(text.len()).unwrap();
        let mut body = Paced::new(Body::from(text.clone()), held);
        assert_eq!(body.size_hint().exact(), Some(text.len() as u64));
        let mut pieces = Vec::new();
        while let Some(frame) = std::future::poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
            pieces.push(frame.unwrap().into_data().unwrap());
        }
        assert_eq!(pieces.iter().map(Bytes::len).collect::<Vec<_>>(), [PIECE, PIECE, 5]);
        assert!(pieces.concat() == text && body.is_end_stream());
    }

    #[tokio::test]
    async fn work_of_callers_that_went_keeps_its_turn() {
        static TURNS: Semaphore = Semaphore::const_new(2);
        static NOW: AtomicUsize = AtomicUsize::new(0);
        static MOST: AtomicUsize = AtomicUsize::new(0);
        let (done, mut ends) = tokio::sync::mpsc::unbounded_channel();
        let (go, wait) = std::sync::mpsc::channel::<()>();
        let wait = Arc::new(std::sync::Mutex::new(wait));
        let work = || {
            let (done, wait) = (done.clone(), Arc::clone(&wait));
            in_turn(&TURNS, move || {
                MOST.fetch_max(NOW.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                wait.lock().unwrap().recv().unwrap();
                NOW.fetch_sub(1, Ordering::SeqCst);
                done.send(()).unwrap();
            })
        };
        // Two ask and go.
        for _ in 0..2 {
            let mut one = Box::pin(work());
            assert!(is_pending(&mut one).await);
        }
        let mut third = Box::pin(work());
        assert!(is_pending(&mut third).await && TURNS.available_permits() == 0);
        (0..3).for_each(|_| go.send(()).unwrap());
        third.await.unwrap();
        for _ in 0..3 {
            ends.recv().await.unwrap();
        }
        assert!(MOST.load(Ordering::SeqCst) <= 2);
    }
}
