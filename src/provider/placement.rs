//! How many workers each machine gets.
//!
//! Pure arithmetic: deterministic, even, and no machine without a worker.

/// The workers of one machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share {
    /// The machine's position.
    pub machine: usize,
    pub workers: u32,
}

/// Workers that share an embedded machine unless something else was asked for: a second machine costs a second import of pytest.
const WORKERS_PER_MACHINE: u32 = 4;

/// As many machines as were asked for, or one for a few workers; never one without a worker.
pub fn spread(workers: u32, machines: Option<u32>) -> Vec<Share> {
    let machines = machines.unwrap_or(workers.div_ceil(WORKERS_PER_MACHINE)).min(workers);
    spread_over(workers, &vec![1; machines as usize])
}

/// Deals workers out in turn, in proportion to the weights. Machines that get none are left out.
pub fn spread_over(workers: u32, weights: &[u32]) -> Vec<Share> {
    let mut counts = vec![0_u32; weights.len()];
    for _ in 0..workers {
        // The machine that would be the least loaded, relative to its weight; the earliest of equals.
        let next = (0..weights.len()).filter(|at| weights[*at] > 0).min_by(|a, b| {
            let load = |at: usize| u64::from(counts[at] + 1);
            (load(*a) * u64::from(weights[*b])).cmp(&(load(*b) * u64::from(weights[*a])))
        });
        match next {
            Some(at) => counts[at] += 1,
            None => break,
        }
    }
    counts
        .into_iter()
        .enumerate()
        .filter(|(_, workers)| *workers > 0)
        .map(|(machine, workers)| Share { machine, workers })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(shares: Vec<Share>) -> Vec<u32> {
        shares.into_iter().map(|share| share.workers).collect()
    }

    #[test]
    fn local_machines_hold_up_to_four_workers() {
        for (workers, expected) in [(0, vec![]), (1, vec![1]), (4, vec![4]), (5, vec![3, 2]), (9, vec![3, 3, 3])] {
            assert_eq!(counts(spread(workers, None)), expected, "{workers} workers");
        }
    }

    #[test]
    fn as_many_local_machines_as_asked_for_but_none_without_a_worker() {
        assert_eq!(counts(spread(4, Some(2))), [2, 2]);
        assert_eq!(counts(spread(2, Some(8))), [1, 1]);
    }

    #[test]
    fn weights_are_kept_in_proportion() {
        assert_eq!(counts(spread_over(6, &[2, 1])), [4, 2]);
        assert_eq!(counts(spread_over(7, &[1, 1, 1])), [3, 2, 2]);
        assert_eq!(counts(spread_over(5, &[3, 2])), [3, 2]);
    }

    #[test]
    fn a_machine_without_a_worker_is_left_out() {
        assert_eq!(spread_over(1, &[1, 3]), [Share { machine: 1, workers: 1 }]);
        assert_eq!(spread_over(2, &[1, 1, 1]).len(), 2);
        assert!(spread_over(3, &[]).is_empty());
    }
}
