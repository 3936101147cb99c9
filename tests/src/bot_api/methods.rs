//! The methods of the Bot API that a gateway needs, each as the real server answers it.

use super::answer::Answer;
use super::chats::Wanted;
use super::params::Params;
use super::push::Webhook;
use super::world::{World, now_ms};
use serde_json::json;

/// Answers a call that does not wait. Methods are called in any case of letters.
pub fn call(world: &mut World, method: &str, params: Params) -> Answer {
    match method {
        "getme" => Answer::Done(json!({
            "id": 1, "is_bot": true, "first_name": "Bot", "username": "the_bot", "can_join_groups": true,
            "can_read_all_group_messages": false, "supports_inline_queries": false,
        })),
        "setmycommands" => {
            world.commands = params.structure("commands").unwrap_or_default();
            Answer::Done(true.into())
        }
        "getmycommands" => Answer::Done(world.commands.clone()),
        "setwebhook" => {
            let url = params.text("url").filter(|url| !url.is_empty());
            let secret = params.text("secret_token").unwrap_or_default();
            world.webhook = url.map(|url| Webhook { url, secret, last_error: None });
            Answer::Done(true.into())
        }
        "deletewebhook" => {
            world.webhook = None;
            if params.wanted("drop_pending_updates") {
                world.updates.forget();
            }
            Answer::Done(true.into())
        }
        "getwebhookinfo" => {
            let Webhook { url, last_error, .. } = world.webhook.clone().unwrap_or_default();
            let waiting = world.updates.account()["waiting"].clone();
            let mut seen = json!({"url": url, "has_custom_certificate": false, "pending_update_count": waiting});
            if let Some(error) = last_error {
                seen["last_error_message"] = error.into();
            }
            Answer::Done(seen)
        }
        "answercallbackquery" => {
            if world.presses.remove(&params.text("callback_query_id").unwrap_or_default()) {
                return Answer::Done(true.into());
            }
            Answer::bad_request("query is too old and response timeout expired or query ID is invalid")
        }
        "logout" | "close" => Answer::Done(true.into()),
        "sendchataction" => with_chat(&params, |chat| world.chats.act(chat, now_ms())),
        "sendmessage" => with_chat(&params, |chat| {
            let wanted = Wanted { text: params.text("text").unwrap_or_default(), ..wanted(&params) };
            world.chats.say(chat, wanted, now_ms())
        }),
        "senddocument" => send_file(world, params, "document"),
        "sendphoto" => send_file(world, params, "photo"),
        "editmessagetext" => with_chat(&params, |chat| {
            let Some(id) = params.number("message_id") else {
                return Answer::bad_request("message identifier is not specified");
            };
            let text = params.text("text").unwrap_or_default();
            world.chats.edit(chat, id, text, params.structure("reply_markup"), now_ms())
        }),
        "editmessagereplymarkup" => with_chat(&params, |chat| {
            let Some(id) = params.number("message_id") else {
                return Answer::bad_request("message identifier is not specified");
            };
            world.chats.mark(chat, id, params.structure("reply_markup"), now_ms())
        }),
        "deletemessage" => {
            with_chat(&params, |chat| world.chats.delete(chat, params.number("message_id").unwrap_or(0)))
        }
        "getfile" => {
            let id = params.text("file_id").unwrap_or_default();
            match world.files.get(&id) {
                Some((path, bytes)) => Answer::Done(json!({
                    "file_id": id, "file_unique_id": format!("u{id}"), "file_size": bytes.len(), "file_path": path,
                })),
                None => Answer::bad_request("wrong file_id or the file is temporarily unavailable"),
            }
        }
        _ => Answer::not_found(),
    }
}

/// What every method that says something is given beside the text.
fn wanted(params: &Params) -> Wanted {
    let reply = params.structure("reply_parameters").unwrap_or_default();
    Wanted {
        thread: params.number("message_thread_id"),
        reply_to: reply["message_id"].as_i64().or_else(|| params.number("reply_to_message_id")),
        without_reply: reply["allow_sending_without_reply"].as_bool().unwrap_or(false),
        markup: params.structure("reply_markup"),
        ..Wanted::default()
    }
}

fn send_file(world: &mut World, mut params: Params, field: &str) -> Answer {
    let attached = params.text(field).and_then(|text| text.strip_prefix("attach://").map(str::to_owned));
    let field_name = attached.as_deref().unwrap_or(field);
    let Some(place) = params.uploads.iter().position(|upload| upload.field == field_name) else {
        return Answer::bad_request(&format!("there is no {field} in the request"));
    };
    let upload = params.uploads.swap_remove(place);
    with_chat(&params, |chat| {
        let wanted = Wanted {
            text: params.text("caption").unwrap_or_default(),
            file: Some((field.to_owned(), upload.name, upload.bytes)),
            ..wanted(&params)
        };
        world.chats.say(chat, wanted, now_ms())
    })
}

fn with_chat(params: &Params, then: impl FnOnce(i64) -> Answer) -> Answer {
    match params.number("chat_id") {
        Some(chat) => then(chat),
        None => Answer::bad_request("chat_id is empty"),
    }
}
