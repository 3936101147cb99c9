//! Files that go with replies, for whoever has the token.

use super::{Local, answer};
use crate::journal::{FILES, attachments};
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use std::convert::Infallible;
use std::fs::File;
use std::io::Read;
use std::sync::Arc;

/// How much of a file is read at once.
const PIECE: usize = 64 * 1024;

/// `GET /v1/files/{turn}/{place}`: a file of the reply of a turn, counted from 0.
pub async fn file(State(local): State<Arc<Local>>, Path((turn, place)): Path<(u64, usize)>) -> Response {
    let files = match local.handle.journal.row(FILES, &turn.to_string()) {
        Ok(row) => attachments(row.as_deref()),
        Err(error) => return answer::error(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string()),
    };
    let Some(file) = files.get(place) else {
        return answer::error(StatusCode::NOT_FOUND, "no answer has this file");
    };
    let opened = File::open(&file.path).and_then(|opened| Ok((opened.metadata()?.len(), opened)));
    let Ok((size, opened)) = opened else {
        return answer::error(StatusCode::GONE, "this file is not kept any more (files.age)");
    };
    let pieces = futures_util::stream::unfold(opened, |mut opened| async move {
        let mut piece = vec![0; PIECE];
        let length = opened.read(&mut piece).ok().filter(|length| *length > 0)?;
        piece.truncate(length);
        Some((Ok::<_, Infallible>(piece), opened))
    });
    let mut response = Body::from_stream(pieces).into_response();
    let headers = response.headers_mut();
    let kind = HeaderValue::from_str(&file.media_type);
    headers.insert(header::CONTENT_TYPE, kind.unwrap_or(HeaderValue::from_static("application/octet-stream")));
    headers.insert(header::CONTENT_LENGTH, size.into());
    // What an agent made is looked at outside of this origin.
    headers.insert(header::CONTENT_DISPOSITION, HeaderValue::from_static("attachment"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("private, no-store"));
    response
}
