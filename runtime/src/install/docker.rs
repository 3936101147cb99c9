//! The compose file and the Dockerfile. The gateway is the container's first process, since that is the one that the engine
//! looks at; it shares the machine's network, since its door opens on the loopback interface only.

use super::owned::{Comment, UnitFile};
use super::{Manager, Product, Service, shell};
use crate::detect::KILL_AFTER;
use evergate_core::supervisor::Supervisor;
use std::path::Path;

/// The account inside the container; a number, so that Kubernetes can see that it is not root.
pub(super) const ACCOUNT: u32 = 10_001;
/// Where the volume is mounted.
pub(super) const VOLUME: &str = "/var/lib/evergate";
/// Below the volume, so that the gateway makes it with an owner and a mode of its own.
pub(super) const STATE_DIR: &str = "/var/lib/evergate/state";

pub(super) fn product(service: &Service) -> Product {
    let folder = service.folder(Manager::Docker);
    let file = |name: &str, text: String| UnitFile {
        path: folder.join(name),
        mode: 0o644,
        first_line: None,
        comment: Comment::Hash,
        text,
    };
    let compose = shell(&folder.join("compose.yaml"));
    Product {
        supervisor: Supervisor::Container,
        files: vec![file("compose.yaml", compose_file(service)), file("Dockerfile", dockerfile(&service.program))],
        begin: vec![
            format!("docker compose -f {compose} up --build --detach"),
            format!("docker compose -f {compose} exec evergate evergate link"),
        ],
        end: vec![
            "docker rm --force evergate".to_owned(),
            "docker volume rm evergate_state    # the journal, and with it every conversation".to_owned(),
        ],
    }
}

fn compose_file(service: &Service) -> String {
    let unit = service.unit(Supervisor::Container);
    let limit = unit.kill_after.unwrap_or_default().as_secs();
    let programs = service.program.parent().unwrap_or(Path::new("/"));
    format!(
        "\
name: evergate
services:
  evergate:
    container_name: evergate
    build:
      context: .
      additional_contexts:
        program: {programs}
    # An engine sees only zero and non-zero: with `always` an `evergate stop` would be undone at once.
    restart: on-failure
    # The gateway must be the first process: it is the one that the engine starts again.
    init: false
    stop_signal: SIGTERM
    # The budgets of an end ({room} s with their margins) must fit into this; the engine does not tell, so change both.
    stop_grace_period: {limit}s
    environment:
      {KILL_AFTER}: {limit}s
    # It listens on the loopback interface only.
    network_mode: host
    security_opt:
      - no-new-privileges:true
    volumes:
      - state:{VOLUME}
volumes:
  state: {{}}
",
        programs = quoted(&programs.display().to_string()),
        room = unit.room.as_secs(),
    )
}

/// The base must not be older than the machine that built the program: its C library is linked dynamically.
fn dockerfile(program: &Path) -> String {
    let name = program.file_name().unwrap_or(program.as_os_str()).display().to_string();
    format!(
        "\
# The base must be as new as the machine that the program was built on. Add what your agent needs.
FROM debian:stable-slim
RUN install --directory --owner={ACCOUNT} --group={ACCOUNT} --mode=0700 {VOLUME}
COPY --from=program [{}, \"/usr/local/bin/evergate\"]
USER {ACCOUNT}:{ACCOUNT}
ENV EVERGATE_STATE_DIR={STATE_DIR}
ENTRYPOINT [\"/usr/local/bin/evergate\"]
CMD [\"run\"]
",
        quoted(&name)
    )
}

/// A string of YAML, which is also one of JSON.
pub(super) fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}
