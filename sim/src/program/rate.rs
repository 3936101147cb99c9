//! How fast this process has computed: what all its threads took together, which unlike the time that has passed does not
//! depend on what else the machine does.

/// So many of something a second of a core, to be put behind a rate; empty where the system does not tell.
pub fn of_a_core(many: u64) -> String {
    let told = |seconds: f64| format!(", {:.0} a second of a core", many as f64 / seconds.max(0.01));
    processor_seconds().map_or_else(String::new, told)
}

fn processor_seconds() -> Option<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    let (_, fields) = stat.rsplit_once(')')?;
    let ticks = fields.split_whitespace().skip(11).take(2).map(str::parse::<f64>);
    // Linux tells it in hundredths of a second on every machine.
    Some(ticks.sum::<Result<f64, _>>().ok()? / 100.0)
}
