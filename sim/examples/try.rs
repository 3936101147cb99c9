#[global_allocator]
static A: mimalloc::MiMalloc = mimalloc::MiMalloc;
use evergate_core::gateway::Gateway;
use evergate_core::invariant::{Checks, Invariant};
use evergate_core::supervisor::Supervisor;
use evergate_sim::explore::{graph, liveness, scope::Room};
use evergate_sim::world::{Budget, Manner::*, World};
fn main() {
    let n: Vec<u8> = std::env::args().skip(1).map(|a| a.parse().unwrap()).collect();
    let sup = [Supervisor::Systemd, Supervisor::Evergate, Supervisor::Nobody][n[0] as usize];
    let budget = Budget {
        sessions: n[1],
        messages: n[2],
        requests: n[3],
        kills: n[4],
        lost_writes: n[5],
        cancels: n[6],
        lost_sends: n[7],
        redeliveries: n[8],
        freezes: n[9],
        starts: 3,
    };
    let room = Room {
        supervisor: sup,
        budget,
        manners: &[Restart, Force, Stop, ChatRestart, ChatStop, TurnRestartWaits, Terminate, Interrupt, SupervisorStop],
    };
    let setting = room.setting::<Gateway>(());
    for threads in [2] {
        let t = std::time::Instant::now();
        let g = graph::explore(&setting, threads, 30_000_000);
        let e = t.elapsed().as_secs_f64();
        println!(
            "threads {threads} states {} edges {} depth {} in {e:.2}s {:.0}/s bytes/state {}",
            g.states(),
            g.edges(),
            g.depth,
            g.states() as f64 / e,
            g.bytes / g.states() as u64
        );
        for i in Invariant::ALL {
            print!("{} {} ", i.name(), g.looked[*i as usize]);
        }
        println!();
        let f = g.found.clone().or_else(|| liveness::broken(&g));
        println!("live {:.2}", t.elapsed().as_secs_f64());
        if let Some(f) = f {
            println!("{} at {}", f.violation, f.state);
            let mut way = g.way_to(f.state);
            way.extend(f.step);
            let mut w = World::new(&setting);
            for s in graph::steps_along(&setting, &way) {
                let mut c = Checks::default();
                println!("{s:?}");
                w.take(&setting, &s, &mut c, &mut ());
                if let Some(b) = c.broken() {
                    println!("  !! {b}");
                }
            }
            let _ = &w;
            if std::env::var_os("DUMP").is_some() {
                println!("{w:#?}");
            }
        }
    }
    let s = std::fs::read_to_string("/proc/self/status").unwrap();
    println!("{}", s.lines().find(|l| l.starts_with("VmHWM")).unwrap());
}
