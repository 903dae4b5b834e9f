//! What the session layer counts about itself: nothing that it gives up on goes uncounted.

/// Why a connection's bytes could not be followed any further.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// A request was expected and something else came.
    RequestHead,
    ResponseHead,
    /// A head longer than [`Limits::head_bytes`](super::Limits::head_bytes).
    HeadTooLong,
    ContentLength,
    TransferEncoding,
    ChunkSize,
    /// The data of a chunk did not end where its size said.
    ChunkEnd,
    TrailerTooLong,
    /// Bytes of a head, or between two messages, were not captured.
    GapInHead,
    /// Bytes of a chunked body's framing were not captured.
    GapInChunk,
    /// A record stands before the end of the one that came before it.
    OffsetBack,
    /// A response without a request that it could belong to.
    ResponseUnasked,
    /// A response began where the one before it still missed bytes: they went out by a call that carries no payload.
    ResponseInBody,
    /// More unanswered requests than [`Limits::in_flight_per_connection`](super::Limits::in_flight_per_connection).
    InFlight,
    /// Bytes were lost on a pipelined connection: what is left cannot be paired with certainty.
    Pipelined,
    /// The connection ended inside a request's head.
    HeadCutShort,
    /// The first response bytes of a connection whose beginning was not seen.
    MidConnection,
}

impl Fault {
    /// Whether bytes are missing, rather than wrong.
    pub(super) fn is_loss(self) -> bool {
        matches!(self, Fault::GapInHead | Fault::GapInChunk | Fault::OffsetBack | Fault::MidConnection)
    }
}

/// Every fault with its label, in the order of their numbers.
pub const FAULTS: [(Fault, &str); 17] = [
    (Fault::RequestHead, "request_head"),
    (Fault::ResponseHead, "response_head"),
    (Fault::HeadTooLong, "head_too_long"),
    (Fault::ContentLength, "content_length"),
    (Fault::TransferEncoding, "transfer_encoding"),
    (Fault::ChunkSize, "chunk_size"),
    (Fault::ChunkEnd, "chunk_end"),
    (Fault::TrailerTooLong, "trailer_too_long"),
    (Fault::GapInHead, "gap_in_head"),
    (Fault::GapInChunk, "gap_in_chunk"),
    (Fault::OffsetBack, "offset_back"),
    (Fault::ResponseUnasked, "response_unasked"),
    (Fault::ResponseInBody, "response_in_body"),
    (Fault::InFlight, "in_flight"),
    (Fault::Pipelined, "pipelined"),
    (Fault::HeadCutShort, "head_cut_short"),
    (Fault::MidConnection, "mid_connection"),
];

/// Counts since the start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Connections taken up.
    pub connections: u64,
    /// Connections that spoke HTTP/2, which is not parsed.
    pub http2: u64,
    /// Connections that became something else than HTTP (101, CONNECT).
    pub upgraded: u64,
    /// Times that a connection's place in the stream was lost; it is taken up again at the next request.
    pub resyncs: u64,
    /// Requests seen whose record was given up, by whatever cause.
    pub exchanges_lost: u64,
    /// Ends of LLM requests that a service sent to itself while it served another one: part of that one.
    pub hops: u64,
    /// Connections forgotten for want of room or for being idle too long.
    pub evictions: u64,
    /// Stream bytes of followed connections that were not captured.
    pub bytes_left_out: u64,
    /// Times that a connection between an engine's front and its core was lost track of.
    pub engine_frames_lost: u64,
    /// Requests of an engine for which there was no room.
    pub engine_requests_lost: u64,
    /// Captured bytes that belong to no exchange: out of step, unasked, or of no known connection.
    pub bytes_skipped: u64,
    failures: [u64; FAULTS.len()],
}

impl Stats {
    pub(super) fn fault(&mut self, fault: Fault) {
        self.failures[fault as usize] += 1;
    }

    /// Parse failures by cause.
    pub fn failures(&self) -> impl Iterator<Item = (&'static str, u64)> {
        FAULTS.iter().map(|(fault, label)| (*label, self.failures[*fault as usize]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_stand_in_the_order_of_their_numbers() {
        for (i, (fault, label)) in FAULTS.iter().enumerate() {
            assert_eq!(*fault as usize, i, "{label}");
        }
    }
}
