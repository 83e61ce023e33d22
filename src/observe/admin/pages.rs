//! What is served under which path.

use hyper::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use percent_encoding::percent_decode_str;
use serde::Serialize;
use serde_json::json;

use crate::call::Snapshot;
use crate::observe::trace::{Media, NoMedia, Traces, Unfound};
use crate::observe::{Unanswered, View};

/// What is told to whoever asks for something else.
const INDEX: &str = "wabridge\n\n\
    /metrics  for Prometheus\n\
    /healthz  200 while signalling turns\n\
    /readyz   200 while new calls can be served, else 503 and why not\n\
    /status   what `wabridge status` shows\n\
    /calls    the calls that are up\n\
    /traces   the calls whose messages are kept; /traces/<call> has all of one, /traces/<call>/media its media\n";

/// OpenMetrics 1.0.
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
const TEXT: &str = "text/plain; charset=utf-8";
const JSON: &str = "application/json";

type Page = Response<String>;

/// Answers one request. Signalling is asked once; if it does not answer in time, that is said.
pub(super) async fn answer<B>(request: &Request<B>, view: &View) -> Page {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let mut page = page(
            StatusCode::METHOD_NOT_ALLOWED,
            TEXT,
            "GET is all there is\n".into(),
        );
        page.headers_mut()
            .insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return page;
    }
    let write: fn(&View, &Snapshot) -> Page = match request.uri().path() {
        "/" => return page(StatusCode::OK, TEXT, INDEX.into()),
        "/traces" => return traces(None, request.uri().query(), view).await,
        path if path.starts_with("/traces/") => {
            let name = path.strip_prefix("/traces/").unwrap_or_default();
            return match name.strip_suffix("/media") {
                Some(name) => media(name, view).await,
                None => traces(Some(name), request.uri().query(), view).await,
            };
        }
        "/metrics" => metrics,
        "/healthz" => |_, _| page(StatusCode::OK, TEXT, "ok\n".into()),
        "/readyz" => ready,
        "/status" => |view, now| as_json(StatusCode::OK, &view.status(now)),
        "/calls" => return calls(view).await,
        _ => return page(StatusCode::NOT_FOUND, TEXT, INDEX.into()),
    };
    match view.snapshot().await {
        Ok(now) => write(view, &now),
        Err(why) => unanswered(why),
    }
}

/// All that is kept, or all of one call. Numbers are masked unless `?reveal=1` asks for them and may.
async fn traces(name: Option<&str>, query: Option<&str>, view: &View) -> Page {
    let (traces, name) = (view.traces().clone(), name.map(str::to_owned));
    let reveal = query == Some("reveal=1");
    // There may be thousands, and each number in them is masked: not where signalling turns.
    let page = tokio::task::spawn_blocking(move || kept(name.as_deref(), reveal, &traces));
    page.await.unwrap_or_else(|error| failed(&error))
}

fn kept(name: Option<&str>, reveal: bool, traces: &Traces) -> Page {
    if reveal && !traces.may_reveal() {
        let why = "trace.reveal_numbers is false in the configuration: ask without --reveal\n";
        return page(StatusCode::FORBIDDEN, TEXT, why.into());
    }
    let Some(name) = name else {
        return as_json(StatusCode::OK, &traces.list(reveal));
    };
    let name = percent_decode_str(name).decode_utf8_lossy();
    match traces.find(&name, reveal) {
        Ok(trace) => as_json(StatusCode::OK, &trace),
        Err(why) => unfound(&why),
    }
}

async fn calls(view: &View) -> Page {
    match view.snapshot().await {
        Ok(now) => as_json(StatusCode::OK, &view.calls(&now).await),
        Err(why) => unanswered(why),
    }
}

/// What crossed the wires of a call, in clear: there is something only where `trace.media` says so.
async fn media(name: &str, view: &View) -> Page {
    let name = percent_decode_str(name).decode_utf8_lossy();
    let recording = match view.recording(&name).await {
        Ok(recording) => recording,
        Err(NoMedia::Call(why)) => return unfound(&why),
        Err(why @ NoMedia::Ending) => {
            return page(StatusCode::SERVICE_UNAVAILABLE, TEXT, format!("{why}\n"));
        }
        Err(why) => return page(StatusCode::NOT_FOUND, TEXT, format!("{why}\n")),
    };
    // Megabytes of it: not where signalling turns.
    let written =
        tokio::task::spawn_blocking(move || serde_json::to_string(&Media::from(&*recording)));
    match written.await.map_err(|error| error.to_string()) {
        Ok(Ok(text)) => page(StatusCode::OK, JSON, text),
        Ok(Err(error)) => failed(&error),
        Err(error) => failed(&error),
    }
}

fn unfound(why: &Unfound) -> Page {
    let status = match why {
        Unfound::Ambiguous(_) => StatusCode::CONFLICT,
        Unfound::Empty | Unfound::Unknown => StatusCode::NOT_FOUND,
    };
    page(status, TEXT, format!("{why}\n"))
}

fn failed(why: &dyn std::fmt::Display) -> Page {
    page(StatusCode::INTERNAL_SERVER_ERROR, TEXT, format!("{why}\n"))
}

fn metrics(view: &View, now: &Snapshot) -> Page {
    match view.text(now) {
        Ok(text) => page(StatusCode::OK, OPEN_METRICS, text),
        Err(error) => failed(&error),
    }
}

fn ready(view: &View, now: &Snapshot) -> Page {
    let reasons = view.not_ready(now);
    let status = match reasons.is_empty() {
        true => StatusCode::OK,
        false => StatusCode::SERVICE_UNAVAILABLE,
    };
    as_json(
        status,
        &json!({ "ready": reasons.is_empty(), "not_ready": reasons }),
    )
}

fn unanswered(why: Unanswered) -> Page {
    let reason = match why {
        Unanswered::Stuck => "stuck",
        Unanswered::Stopped => "stopped",
    };
    as_json(
        StatusCode::SERVICE_UNAVAILABLE,
        &json!({ "ready": false, "not_ready": [{ "reason": reason, "detail": why.to_string() }] }),
    )
}

fn as_json(status: StatusCode, body: &impl Serialize) -> Page {
    match serde_json::to_string_pretty(body) {
        Ok(text) => page(status, JSON, text + "\n"),
        Err(error) => failed(&error),
    }
}

fn page(status: StatusCode, kind: &'static str, body: String) -> Page {
    let mut page = Response::new(body);
    *page.status_mut() = status;
    let headers = page.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    page
}
