//! The manifest for Kubernetes. A stateful set of one, since that never runs two pods on one volume, not even when a node
//! is lost. A pod is started again after any end, so a stopped or parked gateway stays up, idle, and its probe must let it.

use super::docker::{ACCOUNT, STATE_DIR, VOLUME};
use super::owned::{Comment, UnitFile};
use super::{Manager, Product, Service, shell};
use crate::detect::KILL_AFTER;
use evergate_core::supervisor::Supervisor;
use evergate_core::unit::Unit;

/// How often a probe looks.
const PERIOD_S: u64 = 10;
/// How long a probe may take: longer than the five seconds after which `evergate status` gives up.
const PROBE_S: u64 = 10;

pub(super) fn product(service: &Service) -> Product {
    let path = service.folder(Manager::Kubernetes).join("evergate.yaml");
    let begin = vec![
        "docker build …    # an image with the program, as `evergate install --manager docker --print` shows; name it in `image`"
            .to_owned(),
        format!("kubectl apply -f {}", shell(&path)),
        "kubectl port-forward statefulset/evergate 8787".to_owned(),
    ];
    let end = vec![
        "kubectl delete statefulset evergate".to_owned(),
        "kubectl delete pvc state-evergate-0    # the journal, and with it every conversation".to_owned(),
    ];
    let text = manifest(&service.unit(Supervisor::Kubernetes));
    let file = UnitFile { path, mode: 0o644, first_line: None, comment: Comment::Hash, text };
    Product { supervisor: Supervisor::Kubernetes, files: vec![file], begin, end }
}

fn manifest(unit: &Unit) -> String {
    format!(
        "\
apiVersion: apps/v1
kind: StatefulSet
metadata:
  name: evergate
  labels: {{app: evergate}}
spec:
  # One gateway owns a journal.
  replicas: 1
  serviceName: evergate
  selector:
    matchLabels: {{app: evergate}}
  template:
    metadata:
      labels: {{app: evergate}}
    spec:
      # The budgets of an end ({room} s with their margins) must fit into this; the variable below tells the gateway, so change both.
      terminationGracePeriodSeconds: {limit}
      securityContext:
        runAsNonRoot: true
        runAsUser: {ACCOUNT}
        runAsGroup: {ACCOUNT}
        fsGroup: {ACCOUNT}
      containers:
        - name: evergate
          image: evergate:{version}
          args: [run]
          env:
            - {{name: {KILL_AFTER}, value: {limit}s}}
            - {{name: EVERGATE_STATE_DIR, value: {STATE_DIR}}}
          # The gateway listens on the pod's loopback interface only, where no HTTP probe gets to; a probe asks its control
          # socket. A gateway that was stopped or has parked itself has none, and stays as it is: only one that is there and
          # does not answer (75) is started again.
          livenessProbe:
            exec: {{command: [/bin/sh, -c, 'evergate status > /dev/null; [ $? -ne 75 ]']}}
            periodSeconds: {PERIOD_S}
            timeoutSeconds: {PROBE_S}
            failureThreshold: {failures}
          readinessProbe:
            exec: {{command: [/bin/sh, -c, 'evergate status --json | grep -q ''\"phase\": \"serving\"''']}}
            periodSeconds: {PERIOD_S}
            timeoutSeconds: {PROBE_S}
          securityContext:
            allowPrivilegeEscalation: false
          volumeMounts:
            - {{name: state, mountPath: {VOLUME}}}
  volumeClaimTemplates:
    - metadata:
        name: state
      spec:
        accessModes: [ReadWriteOnce]
        resources:
          requests: {{storage: 1Gi}}
",
        room = unit.room.as_secs(),
        limit = unit.kill_after.unwrap_or_default().as_secs(),
        version = super::owned::VERSION,
        failures = unit.watchdog.map_or(3, |limit| (limit.as_secs() / PERIOD_S).max(1)),
    )
}
