//! The paths for monitoring systems: readiness and metrics.

use hyper::header::HeaderValue;
use hyper::{Method, StatusCode};

use super::exchange::AppState;
use super::reply::{self, Reply};

const HEALTH: &str = "/healthz";
const METRICS: &str = "/metrics";
const EXPOSITION: HeaderValue = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");

impl AppState {
    /// Answers whether the server accepts requests. The path needs no credentials, since it reveals nothing else.
    /// Emulated versions have no such path.
    pub(super) fn answer_health(&self, method: &Method, path: &str) -> Option<Reply> {
        if path != HEALTH || !matches!(*method, Method::GET | Method::HEAD) || !self.policy.has_own_paths() {
            return None;
        }
        Some(if self.dispatcher.is_stopping() {
            reply::with_body(StatusCode::SERVICE_UNAVAILABLE, reply::TEXT, "draining\n")
        } else {
            reply::with_body(StatusCode::OK, reply::TEXT, "ok\n")
        })
    }

    /// Answers with the metrics, if the sender passes the checks of the listener.
    pub(super) fn answer_metrics(&self, method: &Method, path: &str) -> Option<Reply> {
        if path != METRICS || *method != Method::GET || !self.shows_metrics {
            return None;
        }
        let page = self.dispatcher.service().metrics_page.get().and_then(|page| page());
        Some(match page {
            Some(page) => reply::with_body(StatusCode::OK, EXPOSITION, page),
            None => reply::with_body(StatusCode::INTERNAL_SERVER_ERROR, reply::TEXT, "there are no metrics now\n"),
        })
    }
}
