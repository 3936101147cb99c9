//! The lives of the gateway, for those who ask over HTTP. What is told of them is made in `lives`.

use super::{Local, answer};
use crate::lives::{self, Asked, Now};
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use evergate_core::id::GenerationId;
use std::sync::Arc;

/// `GET /v1/generations`.
pub async fn generations(State(local): State<Arc<Local>>) -> Response {
    match lives::list(&*local.handle.journal, Now::Alive(own(&local))) {
        Ok(list) => axum::Json(list).into_response(),
        Err(error) => answer::error(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string()),
    }
}

/// `GET /v1/generations/{generation}`; `last` is the last that has ended.
pub async fn generation(State(local): State<Arc<Local>>, Path(asked): Path<String>) -> Response {
    let Ok(asked) = asked.parse::<Asked>() else {
        return answer::error(StatusCode::NOT_FOUND, "there is no such generation: its name is a number, or \"last\"");
    };
    match lives::tell(&*local.handle.journal, asked, Now::Alive(own(&local))).await {
        Ok(Some(life)) => axum::Json(life).into_response(),
        Ok(None) => answer::error(StatusCode::NOT_FOUND, &asked.missing()),
        Err(error) => answer::error(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string()),
    }
}

fn own(local: &Local) -> GenerationId {
    GenerationId(local.handle.hub.stage().generation)
}
