//! The service directory for s6. `run` becomes the gateway; `finish` turns the statuses after which it is to stay down into
//! s6's own word for that. There is no `timeout-kill`: the gateway ends itself in time, and s6 kills nothing unless told.

use super::owned::{Comment, UnitFile};
use super::{Manager, Product, Service, shell};
use crate::detect::SUPERVISOR;
use evergate_core::supervisor::{Park, Supervisor};
use std::path::Path;

/// The status of a `finish` script that s6-supervise(8) takes for "down until somebody brings it up".
const STAY_DOWN: u8 = 125;

pub(super) fn product(service: &Service) -> Product {
    let folder = service.folder(Manager::S6);
    let file = |name: &str, text: String| UnitFile {
        path: folder.join(name),
        mode: 0o755,
        first_line: Some("#!/bin/sh"),
        comment: Comment::Hash,
        text,
    };
    let begin = vec![
        "scan=/run/service    # your scan directory".to_owned(),
        format!("ln -s {} \"$scan\"/evergate", shell(&folder)),
        "s6-svscanctl -a \"$scan\"".to_owned(),
    ];
    let end = vec![
        "scan=/run/service    # your scan directory".to_owned(),
        "rm \"$scan\"/evergate".to_owned(),
        "s6-svscanctl -an \"$scan\"".to_owned(),
    ];
    let files = vec![file("run", run(service)), file("finish", finish(service))];
    Product { supervisor: Supervisor::S6, files, begin, end }
}

fn run(service: &Service) -> String {
    let words: Vec<String> = service.words().iter().map(|word| shell(Path::new(word))).collect();
    format!(
        "\
umask 077
# So that the gateway knows that the script beside this one is there.
{SUPERVISOR}={name}
export {SUPERVISOR}
exec {program} {words} 2>&1
",
        name = Supervisor::S6.name(),
        program = shell(&service.program),
        words = words.join(" "),
    )
}

fn finish(service: &Service) -> String {
    let unit = service.unit(Supervisor::S6);
    let statuses: Vec<String> = unit.stays_down_after().iter().map(u8::to_string).collect();
    let parked = match unit.contract.park {
        Park::Exit(status) => status,
        Park::StayUp => STAY_DOWN,
    };
    format!(
        "\
# $1 is the gateway's exit status: after these it stays down until somebody brings it up, after any other it is started again.
case $1 in
  {}) exit {parked} ;;
esac
exit 0
",
        statuses.join(" | "),
    )
}
