//! A request that has not ended: the exchange as it fills up, and the dialect's parser that its bodies are fed to.

use std::sync::Arc;

use inferscope_abi::{Network, PayloadHeader};

use super::crowd::{Counted, InFlight};
use super::exchange::{Ending, Exchange, GapCounts, Mark, Role, Sending, Subject};
use super::hops::Ends;
use super::http1::{RequestHead, ResponseHead};
use super::llm::{LlmParser, Piece};
use super::wanted::{Reader, Wanted};
use crate::privacy::Guard;

pub(super) struct Open {
    pub exchange: Exchange,
    parser: Option<Box<LlmParser>>,
    /// For what the configuration wants read.
    reader: Option<Box<Reader>>,
    /// Whether the bodies' bytes are text that the parser can read.
    feed_request: bool,
    feed_response: bool,
    /// Bytes of the response's body have come.
    pub body_seen: bool,
    /// Bytes of the response were lost since its last chunk with content.
    lost_since_content: bool,
    /// The record that brought the content of a document which may be the first of a stream.
    withheld: Option<Mark>,
    /// Of the connection, when the request began.
    retransmits_before: u32,
    /// When the last call that wrote returned.
    sent_ns: u64,
    counted: Option<Counted>,
    /// It began while its service served an LLM request that came from elsewhere.
    pub within: bool,
    /// It is that request, on its way through the service: see [`hops`](super::hops).
    pub is_hop: bool,
    /// The bodies were seen to their ends and could be read.
    requested: bool,
    answered: bool,
}

impl Open {
    /// `end` of the exchange is always the last record that moved a byte of it.
    pub fn new(
        role: Role,
        server_port: u16,
        tgid: u32,
        service: u32,
        start: Mark,
        head: RequestHead,
        guard: &Guard,
    ) -> Self {
        let mut parser = LlmParser::detect(&head.method, &head.path).map(Box::new);
        if let Some(parser) = &mut parser {
            parser.keep_texts(guard);
        }
        let exchange = Exchange {
            role,
            tgid,
            service,
            server_port,
            method: head.method,
            path: head.path,
            status: 0,
            start,
            request_end: None,
            first_byte: None,
            first_content: None,
            last_content: None,
            end: start,
            ending: Ending::Complete,
            request_bytes: 0,
            response_bytes: 0,
            content_chunks: 0,
            gap: false,
            chunk_gaps: GapCounts::default(),
            others_in_flight: 0.0,
            sending: Sending::default(),
            chunk_times_ns: Vec::new(),
            traceparent: head.traceparent,
            request_id: head.request_id,
            llm: None,
            subject: None,
            engine: None,
            fields: None,
            said: None,
        };
        Open {
            exchange,
            parser,
            reader: None,
            feed_request: !head.encoded,
            feed_response: true,
            body_seen: false,
            lost_since_content: false,
            withheld: None,
            retransmits_before: 0,
            sent_ns: 0,
            counted: None,
            within: false,
            is_hop: false,
            requested: false,
            answered: false,
        }
    }

    /// Reads what is wanted beside the dialect's.
    pub fn read(&mut self, wanted: &Arc<Wanted>, head: &[u8]) {
        self.reader = Reader::begin(wanted, head);
    }

    /// Where the connection stands; counts the request among those of the service if it is an LLM's.
    pub fn began(&mut self, network: &Network, in_flight: &Arc<InFlight>, ends: Option<Ends>) {
        self.retransmits_before = network.retransmits;
        let counts = self.is_llm() && !self.is_hop;
        self.counted = counts.then(|| Counted::new(in_flight, ends, self.exchange.start.at_ns));
    }

    /// A call wrote bytes of the response; its first record stands for it.
    pub fn sent(&mut self, head: &PayloadHeader) {
        if std::mem::replace(&mut self.sent_ns, head.header.at_ns) == head.header.at_ns {
            return;
        }
        let phase = usize::from(self.exchange.first_content.is_some());
        let sending = &mut self.exchange.sending;
        sending.call_ns[phase] += head.header.at_ns.saturating_sub(head.enter_ns);
        sending.full_ns[phase] += head.network.full_ns;
        sending.retransmits = head.network.retransmits.saturating_sub(self.retransmits_before);
        let rtt_us = head.network.rtt_us;
        if rtt_us != 0 && (sending.rtt_us == 0 || rtt_us < sending.rtt_us) {
            sending.rtt_us = rtt_us;
        }
        sending.calls += 1;
        sending.calls_unread += u32::from(head.network.send_queue > head.network.window.saturating_mul(2));
    }

    pub fn is_llm(&self) -> bool {
        self.parser.as_ref().is_some_and(|parser| !parser.is_admin())
    }

    /// Whether it is an LLM's request whose response is, or is to be, streamed.
    pub fn streams(&self) -> bool {
        self.parser.as_ref().is_some_and(|parser| parser.streams())
    }

    pub fn request_piece(&mut self, piece: Piece<'_>) {
        if !self.feed_request {
            return;
        }
        if let Some(parser) = &mut self.parser {
            parser.request_body(piece);
        }
        if let Some(reader) = &mut self.reader {
            reader.request_body(piece);
        }
    }

    /// `at`: none if the record that held the last byte was lost.
    pub fn request_end(&mut self, at: Option<Mark>) {
        self.exchange.request_end = at;
        if !self.feed_request {
            return;
        }
        if let Some(parser) = &mut self.parser {
            parser.request_end();
            self.requested = true;
        }
        if let Some(reader) = &mut self.reader {
            reader.request_end();
        }
    }

    /// A final response's head.
    pub fn response_head(&mut self, head: &ResponseHead<'_, '_>, first_byte: Mark) {
        self.exchange.status = head.status;
        self.exchange.first_byte = Some(first_byte);
        if self.exchange.request_id.is_none() {
            self.exchange.request_id = head.request_id.map(str::to_owned);
        }
        self.feed_response = !head.encoded;
        if let Some(parser) = &mut self.parser {
            parser.response_head(head.status, head.headers);
        }
        if let Some(reader) = &mut self.reader {
            reader.response_head(head.headers, head.status);
        }
    }

    /// Content chunks that the piece completed.
    pub fn response_piece(&mut self, piece: Piece<'_>) -> u32 {
        if matches!(piece, Piece::Gap(1..)) {
            (self.exchange.gap, self.lost_since_content) = (true, true);
        }
        if !self.feed_response {
            return 0;
        }
        if let Some(reader) = &mut self.reader {
            reader.response_body(piece);
        }
        self.parser.as_mut().map_or(0, |parser| parser.response_body(piece))
    }

    /// One record brought `chunks` content chunks; the instants of so many records are kept.
    pub fn content(&mut self, chunks: u32, at: Mark, keep: usize) {
        if chunks == 0 {
            if self.parser.as_ref().is_some_and(|parser| parser.withholds()) {
                self.withheld.get_or_insert(at);
            }
            return;
        }
        let lost = std::mem::take(&mut self.lost_since_content);
        let first = self.withheld.take().inspect(|first| self.chunks(1, *first, keep, false));
        self.chunks(chunks - u32::from(first.is_some()), at, keep, lost);
    }

    fn chunks(&mut self, chunks: u32, at: Mark, keep: usize, lost: bool) {
        if chunks == 0 {
            return;
        }
        let exchange = &mut self.exchange;
        exchange.content_chunks += u64::from(chunks);
        exchange.first_content.get_or_insert(at);
        if exchange.chunk_times_ns.len() < keep {
            exchange.chunk_times_ns.push(at.at_ns);
        }
        if let Some(last) = exchange.last_content.replace(at)
            && !lost
        {
            // Records of one system call share their instant.
            let gap_ns = at.at_ns.saturating_sub(last.at_ns);
            if gap_ns > 0 {
                exchange.chunk_gaps.add(gap_ns);
            }
        }
    }

    /// The response's last byte came.
    pub fn response_end(&mut self, at: Mark, keep: usize) {
        if !self.feed_response {
            return;
        }
        if let Some(reader) = &mut self.reader {
            reader.response_end();
        }
        if let Some(parser) = &mut self.parser {
            let chunks = parser.response_end();
            self.answered = true;
            self.content(chunks, at, keep);
        }
    }

    /// Whether the stream said itself that it is over.
    pub fn stream_ended(&self) -> bool {
        self.parser.as_ref().is_some_and(|parser| parser.ended())
    }

    /// Whether all of the response's one document has come.
    pub fn document_is_whole(&self) -> bool {
        self.parser.as_ref().is_some_and(|parser| parser.answered_whole())
    }

    pub fn finish(mut self, ending: Ending) -> Exchange {
        self.exchange.ending = ending;
        if let Some(counted) = &self.counted {
            self.exchange.others_in_flight = counted.others(self.exchange.end.at_ns);
        }
        self.exchange.fields = self.reader.map(|reader| Box::new(reader.finish()));
        if let Some(parser) = &mut self.parser
            && parser.recognized()
        {
            self.exchange.said = parser.take_texts(self.requested, self.answered || parser.ended());
        }
        match self.parser {
            Some(parser) if parser.is_admin() => {
                let said = parser.finish();
                self.exchange.subject = Some(Subject { name: said.request_model, failed: said.error.is_some() });
            }
            Some(parser) if parser.recognized() => self.exchange.llm = Some(parser.finish()),
            _ => {}
        }
        self.exchange
    }

    /// Ends it at an instant at which no byte moved: the counters are those of the last record.
    pub fn cut_off(mut self, ending: Ending, at_ns: u64) -> Exchange {
        if self.stream_ended() {
            return self.finish(Ending::Complete);
        }
        self.exchange.end.at_ns = at_ns.max(self.exchange.end.at_ns);
        self.finish(ending)
    }
}
