//! Connections from the first byte to the last: room, TLS, time to ask, and an orderly end. Knows nothing of routes.

use std::{convert::Infallible, future::Future, io, pin::pin, sync::Arc, time::Duration};

use anyhow::{Context, Result};
use axum::{
    Router,
    body::Body,
    http::{HeaderValue, Request, Response, header},
};
use hyper::{
    body::{Body as _, Incoming},
    server::conn::http1,
    service::{Service, service_fn},
};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    sync::watch,
    time::Instant,
};

use super::{
    counts::{Counts, Reason},
    flow::{Paced, Patient},
    gate::{Verdict, crowded, judge},
    places::{Place, Places},
    tls::{Failure, Handshakes},
};
use crate::webconfig::Current;

/// From the connection to the first request that is answered, TLS and all.
const FIRST: Duration = Duration::from_secs(10);
/// From one request to the next: longer than scrapes are apart.
const IDLE: Duration = Duration::from_secs(90);
/// After an error of the system, such as too many open files, until the next connection is taken.
const PAUSE: Duration = Duration::from_secs(1);
/// Of the request line and all headers of a request.
const HEAD_BYTES: usize = 16 << 10;

/// Whom the server lets in, and what it counts.
#[derive(Clone, Debug)]
pub struct Door {
    pub current: Arc<Current>,
    pub counts: Arc<Counts>,
}

impl Door {
    /// Lets everyone in.
    pub fn open() -> Self {
        let current = Current::open(None).expect("no file is no wrong file");
        Self { current, counts: Arc::default() }
    }
}

/// Serves until `stop` is done; then what is being answered is answered. Errors: the system refuses a thread.
pub async fn serve(
    listener: TcpListener,
    app: Router,
    door: Door,
    stop: impl Future<Output = ()> + Send + 'static,
) -> Result<()> {
    // TLS does not begin while the server runs.
    let handshakes = door.current.rules().tls.is_some().then(Handshakes::start).transpose();
    let handshakes = handshakes.context("the thread of TLS handshakes cannot be started")?;
    let server = Arc::new(Server { door, app, handshakes });
    let (places, (ending, ends)) = (Arc::new(Places::default()), watch::channel(false));
    let mut stop = pin!(stop);
    loop {
        let stream = tokio::select! {
            () = &mut stop => break,
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => stream,
                Err(error) => {
                    bear(&error).await;
                    continue;
                }
            },
        };
        let Some(place) = places.take() else {
            server.door.counts.reject(Reason::Crowded, "there is no room for more connections");
            continue;
        };
        tokio::spawn(Arc::clone(&server).connection(stream, Arc::new(place), ends.clone()));
    }
    drop((listener, ends));
    // Nobody hears it if nobody is connected.
    let _ = ending.send(true);
    ending.closed().await;
    Ok(())
}

/// What came of one caller is nobody else's affair; what came of the system may pass.
async fn bear(error: &io::Error) {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    if !matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset) {
        tracing::error!(%error, "no connection can be taken for a second");
        tokio::time::sleep(PAUSE).await;
    }
}

struct Server {
    door: Door,
    app: Router,
    /// None where no TLS is spoken.
    handshakes: Option<Handshakes>,
}

impl Server {
    async fn connection(self: Arc<Self>, stream: TcpStream, place: Arc<Place>, mut ends: watch::Receiver<bool>) {
        let counts = &self.door.counts;
        // Only a socket that is gone refuses.
        let _ = stream.set_nodelay(true);
        let mut late = pin!(tokio::time::sleep(FIRST));
        let opened = tokio::select! {
            opened = Arc::clone(&self).opened(stream, &place) => opened,
            () = place.has_to_go() => return counts.reject(Reason::Crowded, "others came while it kept silent"),
            () = &mut late => return counts.reject(Reason::Slow, "no handshake in time"),
            _ = ends.changed() => return,
        };
        let mut connection = match opened {
            Ok(connection) => connection,
            Err(Failure::Silent) => return,
            Err(Failure::Rejected(reason, detail)) => return counts.reject(reason, detail),
        };
        let (mut is_late, mut is_ending) = (false, false);
        loop {
            tokio::select! {
                done = &mut connection.done => {
                    if place.is_unread() {
                        return counts.reject(Reason::Unread, "its answer was not read in time");
                    }
                    return if let Err(error) = done && error.is_parse() && !place.is_answered() {
                        counts.reject(Reason::Malformed, "it does not speak HTTP");
                    };
                }
                () = place.has_to_go() => return counts.reject(Reason::Crowded, "others needed its room"),
                () = &mut late, if !is_late => {
                    // It waits for its turn, as all do whose password is new: for the first one that it gives.
                    if place.is_checked() && !place.is_answered() {
                        late.as_mut().reset(Instant::now() + FIRST);
                        continue;
                    }
                    is_late = true;
                    // Whoever may ask, and did, waits for an answer that takes its time.
                    if !place.is_answered() && !place.is_admitted() {
                        return counts.reject(Reason::Slow, "no whole request in time");
                    }
                    // It was refused all this time.
                    if !place.is_admitted() {
                        connection.wind_up();
                    }
                }
                _ = ends.changed(), if !is_ending => {
                    is_ending = true;
                    connection.wind_up();
                }
            }
        }
    }

    /// The connection with HTTP on it, behind TLS if the rules want that.
    async fn opened(self: Arc<Self>, stream: TcpStream, place: &Arc<Place>) -> Result<Connection, Failure> {
        self.door.current.look_if_due().await;
        let rules = self.door.current.rules();
        let (place, generation) = (Arc::clone(place), rules.generation);
        match (&rules.tls, &self.handshakes) {
            (None, None) => Ok(Connection::new(stream, self, place, generation)),
            (Some(tls), Some(handshakes)) => {
                let stream = handshakes.shake(stream, Arc::clone(&tls.config)).await?;
                Ok(Connection::new(stream, Arc::clone(&self), place, generation))
            }
            // It never comes to this: what speaks in clear text or not stays so.
            _ => Err(Failure::Rejected(Reason::Handshake, "TLS begins and ends with the server".to_owned())),
        }
    }

    async fn answer(&self, request: Request<Incoming>, place: &Arc<Place>, generation: u64) -> Response<Body> {
        place.asked();
        self.door.current.look_if_due().await;
        let rules = self.door.current.rules();
        place.set_checked(true);
        let verdict = judge(&rules, &request, &self.door.counts).await;
        place.set_checked(false);
        let mut response = match verdict {
            Verdict::Refused(response) => response,
            verdict => {
                if matches!(verdict, Verdict::Admitted) {
                    place.admit();
                }
                let path = request.uri().path().to_owned();
                let Ok(response) = TowerToHyperService::new(self.app.clone()).call(request).await;
                match place.hold(response.body().size_hint().lower() as usize) {
                    Some(held) => response.map(|body| Body::new(Paced::new(body, held))),
                    None => {
                        self.door.counts.reject(Reason::Crowded, "there is no room for more answers");
                        crowded(&path)
                    }
                }
            }
        };
        for (name, value) in &rules.headers {
            response.headers_mut().insert(name, value.clone());
        }
        // A connection ends with the rules that it began under: the next one has the new certificate, and shows its own.
        if rules.generation != generation {
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        place.answered();
        response
    }
}

type Done = std::pin::Pin<Box<dyn Future<Output = hyper::Result<()>> + Send>>;

/// HTTP on whatever it runs over.
struct Connection {
    done: Done,
    winding_up: Arc<tokio::sync::Notify>,
}

impl Connection {
    fn new<S>(stream: S, server: Arc<Server>, place: Arc<Place>, generation: u64) -> Self
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let stream = Patient::new(stream, Arc::clone(&place));
        let service = service_fn(move |request| {
            let (server, place) = (Arc::clone(&server), Arc::clone(&place));
            async move { Ok::<_, Infallible>(server.answer(request, &place, generation).await) }
        });
        let mut http = http1::Builder::new();
        http.timer(TokioTimer::new()).header_read_timeout(IDLE).max_buf_size(HEAD_BYTES);
        let winding_up = Arc::new(tokio::sync::Notify::new());
        let told = Arc::clone(&winding_up);
        let done = async move {
            let mut connection = pin!(http.serve_connection(TokioIo::new(stream), service));
            loop {
                tokio::select! {
                    done = connection.as_mut() => return done,
                    () = told.notified() => connection.as_mut().graceful_shutdown(),
                }
            }
        };
        Self { done: Box::pin(done), winding_up }
    }

    /// Answers what is being answered, and ends.
    fn wind_up(&self) {
        self.winding_up.notify_one();
    }
}
