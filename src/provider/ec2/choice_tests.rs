use super::*;

/// A region as it could be: families of several sizes in three zones, and some types that nobody gets unasked.
fn region() -> Vec<Offer> {
    let families =
        [("c5", 2048, 0.034), ("c6i", 2048, 0.036), ("m5", 4096, 0.040), ("m6i", 4096, 0.042), ("r5", 8192, 0.048)];
    let sizes = [("large", 2), ("xlarge", 4), ("2xlarge", 8), ("4xlarge", 16), ("12xlarge", 48), ("24xlarge", 96)];
    let mut offers = Vec::new();
    for (family, mib_per_vcpu, price) in families {
        for (size, vcpus) in sizes {
            let price = price / 2.0 * f64::from(vcpus);
            offers.push(offer(&format!("{family}.{size}"), vcpus, mib_per_vcpu * u64::from(vcpus), price));
        }
    }
    offers.push(Offer { burstable: true, ..offer("t3.xlarge", 4, 16384, 0.03) });
    offers.push(Offer { bare_metal: true, ..offer("m5.metal", 96, 384 << 10, 0.01) });
    offers.push(Offer { gpu: true, ..offer("g4dn.xlarge", 4, 16384, 0.01) });
    offers.push(Offer { current: false, ..offer("m1.xlarge", 4, 16384, 0.01) });
    offers.push(Offer { architecture: Architecture::Arm64, ..offer("m7g.xlarge", 4, 16384, 0.01) });
    offers
}

fn offer(instance_type: &str, vcpus: u32, memory_mib: u64, price: f64) -> Offer {
    let zones = ["a", "b", "c"];
    let dearer = |at: usize| price * (1.0 + at as f64 / 100.0);
    Offer {
        instance_type: instance_type.into(),
        vcpus,
        memory_mib,
        architecture: Architecture::X86_64,
        burstable: false,
        gpu: false,
        bare_metal: false,
        current: true,
        spot: zones.iter().enumerate().map(|(at, zone)| ((*zone).into(), dearer(at))).collect(),
        on_demand_zones: zones.iter().map(|zone| (*zone).into()).collect(),
        interruption: Interruption::From5To10,
        savings: Some(60),
    }
}

fn wish(workers: u32) -> Wish {
    Wish {
        workers,
        cpu_per_worker: 1.0,
        memory_per_worker_mib: 2048,
        interrupt_prob: 80,
        market: Market::Spot,
        instance_types: Vec::new(),
        architecture: Architecture::X86_64,
        max_price: None,
        zones: None,
    }
}

fn named(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).into()).collect()
}

/// Different wishes without end, the same in every run.
fn wishes() -> impl Iterator<Item = Wish> {
    let mut state = 1_u64;
    let mut below = move |bound: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % bound
    };
    std::iter::repeat_with(move || Wish {
        workers: 1 + [below(40), below(40), below(40), below(3000)][below(4) as usize] as u32,
        cpu_per_worker: [0.1, 0.25, 0.5, 1.0, 1.5, 2.0, 7.0, 16.0][below(8) as usize],
        memory_per_worker_mib: [128, 512, 1000, 2048, 6000, 16384, 60000][below(7) as usize],
        market: [Market::Spot, Market::OnDemand][below(2) as usize],
        max_price: [None, Some(0.05), Some(0.5)][below(3) as usize],
        zones: [None, Some(BTreeSet::from(["b".into()]))][below(2) as usize].clone(),
        ..wish(1)
    })
}

fn offer_of<'a>(offers: &'a [Offer], pool: &Pool) -> &'a Offer {
    offers.iter().find(|offer| offer.instance_type == pool.instance_type).unwrap()
}

#[test]
fn every_pool_keeps_what_the_wish_says() {
    let offers = region();
    let mut chosen = 0;
    for wish in wishes().take(400) {
        let Ok(choice) = choose(&offers, &wish) else { continue };
        chosen += 1;
        for pool in &choice.pools {
            let offer = offer_of(&offers, pool);
            let held = pool.workers_per_machine;
            assert!((1..=wish.workers).contains(&held), "{wish:?} {pool:?}");
            assert!(f64::from(held) * wish.cpu_per_worker <= f64::from(offer.vcpus) + 1e-6, "{wish:?} {pool:?}");
            assert!(u64::from(held) * wish.memory_per_worker_mib <= offer.usable_memory_mib(), "{wish:?} {pool:?}");
            assert!(wish.max_price.is_none_or(|most| pool.price_per_hour <= most), "{wish:?} {pool:?}");
            assert!(wish.zones.as_ref().is_none_or(|zones| zones.contains(&pool.zone)), "{wish:?} {pool:?}");
            assert!(!(offer.gpu || offer.bare_metal) && offer.current, "{pool:?}");
        }
        let distinct: BTreeSet<_> = choice.pools.iter().map(Pool::key).collect();
        assert_eq!(distinct.len(), choice.pools.len(), "{wish:?}");
        assert!(choice.pools.is_sorted_by(|a, b| a.price_per_worker_hour <= b.price_per_worker_hour), "{wish:?}");
        assert!(choice.pools.len() <= MOST_POOLS);
    }
    assert!(chosen > 200, "{chosen}");
}

#[test]
fn the_expected_machines_hold_the_workers_and_none_is_superfluous() {
    let offers = region();
    for wish in wishes().take(400) {
        let Ok(choice) = choose(&offers, &wish) else { continue };
        let held = |name: &str| {
            choice.pools.iter().find(|pool| pool.instance_type == name).map(|pool| pool.workers_per_machine).unwrap()
        };
        let machines = &choice.expected.machines;
        let room: u32 = machines.iter().map(|(name, count)| held(name) * count).sum();
        assert_eq!(choice.expected.workers, room);
        assert!(room >= wish.workers, "{wish:?} {choice:?}");
        let smallest = machines.keys().map(|name| held(name)).min().unwrap();
        assert!(room - smallest < wish.workers, "{wish:?} {choice:?}");
    }
}

#[test]
fn a_fleet_of_one_pool_hardly_exceeds_what_is_wanted() {
    let offers = region();
    for workers in 1..300 {
        for pool in choose(&offers, &wish(workers)).unwrap().pools {
            let machines = workers.div_ceil(pool.workers_per_machine);
            // Fewer superfluous workers than machines: no even share could leave less.
            assert!(machines * pool.workers_per_machine - workers < machines, "{workers} {pool:?}");
        }
    }
}

#[test]
fn more_is_never_cheaper() {
    let offers = region();
    let plan = |wish: &Wish| choose(&offers, wish).unwrap();
    let mut before = 0.0;
    for workers in [1, 2, 4, 8, 16, 64, 256, 1024] {
        let price = plan(&wish(workers)).expected.price_per_hour;
        assert!(price > before, "{workers}");
        before = price;
    }
    let best = |wish: Wish| plan(&wish).pools[0].price_per_worker_hour;
    for factor in [2, 4, 8] {
        assert!(best(Wish { memory_per_worker_mib: 2048 * factor, ..wish(32) }) >= best(wish(32)));
        assert!(best(Wish { cpu_per_worker: factor as f64, ..wish(32) }) >= best(wish(32)));
    }
}

#[test]
fn a_wider_wish_has_no_fewer_pools() {
    let offers = region();
    let pools = |wish: Wish| choose(&offers, &wish).map_or(0, |choice| choice.pools.len());
    for (narrow, wide) in [(0.04, 0.1), (0.1, 0.4), (0.4, 5.0)] {
        let with = |price| Wish { max_price: Some(price), ..wish(8) };
        assert!(pools(with(narrow)) <= pools(with(wide)));
    }
    assert!(pools(Wish { interrupt_prob: 7, ..wish(8) }) <= pools(Wish { interrupt_prob: 8, ..wish(8) }));
}

#[test]
fn ten_pools_where_ten_exist() {
    let dear = |name: &str, times: f64| offer(name, 4, 16384, 0.05 * times);
    // Only the first is near the cheapest price.
    let offers = [dear("a.1", 1.0), dear("b.1", 5.0), dear("c.1", 6.0), dear("d.1", 7.0), dear("e.1", 8.0)];
    let choice = choose(&offers, &wish(4)).unwrap();
    assert_eq!(choice.pools.len(), 10);
    assert_eq!(choice.pools[9].key(), ("d.1", "a"));
    assert_eq!(choose(&offers[..2], &wish(4)).unwrap().pools.len(), 6);
    for workers in [1, 3, 10, 100, 10_000] {
        assert!(choose(&region(), &wish(workers)).unwrap().pools.len() >= 10, "{workers}");
    }
}

#[test]
fn no_pool_beyond_the_tenth_is_much_dearer_than_the_cheapest() {
    let offers: Vec<Offer> =
        (0..40).map(|at| offer(&format!("x{at:02}.1"), 4, 16384, 0.05 * (1.0 + f64::from(at) / 10.0))).collect();
    let pools = choose(&offers, &wish(16)).unwrap().pools;
    assert!(pools.len() > FEWEST_POOLS);
    assert!(pools.iter().all(|pool| pool.price_per_hour <= 0.1 + 1e-9));
}

#[test]
fn pools_are_spread_over_the_zones_however_small_the_difference() {
    let offers: Vec<Offer> = (0..200).map(|at| offer(&format!("x{at:03}.1"), 4, 16384, 0.05)).collect();
    let pools = choose(&offers, &wish(16)).unwrap().pools;
    assert_eq!(pools.len(), MOST_POOLS);
    for zone in ["a", "b", "c"] {
        assert_eq!(pools.iter().filter(|pool| pool.zone == zone).count(), MOST_POOLS / 3, "{zone}");
    }
}

#[test]
fn places_that_a_zone_leaves_free_go_to_the_others() {
    let mut offers: Vec<Offer> = (0..100).map(|at| offer(&format!("x{at:03}.1"), 4, 16384, 0.05)).collect();
    for offer in &mut offers[1..] {
        offer.withdraw("c", Market::Spot);
    }
    let pools = choose(&offers, &wish(16)).unwrap().pools;
    assert_eq!(pools.len(), MOST_POOLS);
    assert_eq!(pools.iter().filter(|pool| pool.zone == "c").count(), 1);
}

#[test]
fn the_order_of_the_offers_does_not_matter() {
    let mut offers = region();
    let before = choose(&offers, &wish(20)).unwrap();
    offers.reverse();
    assert_eq!(choose(&offers, &wish(20)).unwrap(), before);
    // Nor does it where all prices are equal.
    for offer in &mut offers {
        offer.spot.values_mut().for_each(|price| *price = 0.00001);
    }
    let before = choose(&offers, &wish(20)).unwrap();
    offers.rotate_left(7);
    assert_eq!(choose(&offers, &wish(20)).unwrap(), before);
}

#[test]
fn ten_thousand_workers() {
    let choice = choose(&region(), &wish(10_000)).unwrap();
    let machines: u32 = choice.expected.machines.values().sum();
    assert!((10_000..10_100).contains(&choice.expected.workers), "{choice:?}");
    assert!((64..=512).contains(&machines), "{:?}", choice.expected);
}

#[test]
fn small_runs_get_no_machine_for_each_worker_and_large_ones_no_giant() {
    let machines = |workers| choose(&region(), &wish(workers)).unwrap().expected.machines.values().sum::<u32>();
    assert_eq!(machines(1), 1);
    assert!(machines(4) <= 2);
    assert!((4..=32).contains(&machines(64)), "{}", machines(64));
}

#[test]
fn a_large_machine_for_few_workers_costs_those_few_its_whole_price() {
    let choice = choose(&[offer("m5.24xlarge", 96, 384 << 10, 1.92)], &wish(4)).unwrap();
    let cheapest = &choice.pools[0];
    assert_eq!((cheapest.workers_per_machine, cheapest.price_per_worker_hour), (4, 0.48));
    assert_eq!(choice.expected.machines, BTreeMap::from([("m5.24xlarge".into(), 1)]));
}

#[test]
fn an_even_share_leaves_no_machine_nearly_empty() {
    // It could hold 16; two of them hold 10 each rather than 16 and 4.
    let offers = [offer("m5.4xlarge", 16, 64 << 10, 0.32)];
    let choice = choose(&offers, &wish(20)).unwrap();
    assert_eq!(choice.pools[0].workers_per_machine, 10);
    assert_eq!((choice.expected.workers, choice.expected.machines["m5.4xlarge"]), (20, 2));
}

#[test]
fn the_cheapest_mix_is_found_where_one_type_alone_would_waste() {
    let offers = [offer("big.1", 3, 12 << 10, 0.09), offer("small.1", 1, 4 << 10, 0.031)];
    let expected = choose(&offers, &wish(7)).unwrap().expected;
    assert_eq!(expected.machines, BTreeMap::from([("big.1".into(), 2), ("small.1".into(), 1)]));
    assert!((expected.price_per_hour - 0.211).abs() < 1e-9);
}

#[test]
fn workers_are_limited_by_cpu_or_by_memory() {
    let held = |wish: Wish| choose(&[offer("m5.xlarge", 4, 16384, 0.08)], &wish).unwrap().pools[0].workers_per_machine;
    assert_eq!(held(wish(100)), 4);
    assert_eq!(held(Wish { cpu_per_worker: 0.25, memory_per_worker_mib: 512, ..wish(96) }), 16);
    assert_eq!(held(Wish { cpu_per_worker: 0.25, ..wish(98) }), 7);
    assert_eq!(held(Wish { memory_per_worker_mib: 6000, ..wish(100) }), 2);
    assert_eq!(held(Wish { cpu_per_worker: 3.0, ..wish(100) }), 1);
}

#[test]
fn memory_bound_wishes_get_machines_with_much_memory() {
    let choice = choose(&region(), &Wish { memory_per_worker_mib: 7000, ..wish(16) }).unwrap();
    assert!(choice.pools[0].instance_type.starts_with("r5."), "{:?}", choice.pools[0]);
    let choice = choose(&region(), &Wish { memory_per_worker_mib: 500, ..wish(16) }).unwrap();
    assert!(choice.pools[0].instance_type.starts_with("c5."), "{:?}", choice.pools[0]);
}

#[test]
fn burstable_machines_are_weighed_with_their_surcharge() {
    let plain = offer("m5.xlarge", 4, 16384, 0.08);
    let burstable = Offer { burstable: true, ..offer("t3.xlarge", 4, 16384, 0.05) };
    let choice = choose(&[plain, burstable], &wish(4)).unwrap();
    assert!(choice.pools.iter().any(|pool| pool.burstable));
    assert_eq!(choice.expected.machines, BTreeMap::from([("m5.xlarge".into(), 1)]));
}

#[test]
fn named_types_are_taken_of_whatever_kind_and_no_others() {
    for name in ["m5.metal", "g4dn.xlarge", "m1.xlarge", "m7g.xlarge", "t3.xlarge"] {
        let offers = region();
        let architecture = offers.iter().find(|offer| offer.instance_type == name).unwrap().architecture;
        let choice = choose(&offers, &Wish { instance_types: named(&[name]), architecture, ..wish(4) }).unwrap();
        assert!(choice.pools.iter().all(|pool| pool.instance_type == name));
        assert_eq!(choice.pools.len(), 3);
    }
}

#[test]
fn named_types_that_will_not_do_are_told_of() {
    let types = named(&["c5.large", "m5.large", "m5.24xlarge"]);
    let wish = Wish { instance_types: types, memory_per_worker_mib: 4096, max_price: Some(0.5), ..wish(4) };
    let choice = choose(&region(), &wish).unwrap();
    assert_eq!(choice.left_out.keys().collect::<Vec<_>>(), ["c5.large", "m5.24xlarge"]);
    assert_eq!(choice.left_out["c5.large"].to_string(), "too small for a worker");
    assert_eq!(choice.left_out["m5.24xlarge"].to_string(), "too dear ($1.9200 an hour in a)");
}

#[test]
fn other_architectures_come_when_asked_for() {
    let choice = choose(&region(), &Wish { architecture: Architecture::Arm64, ..wish(4) }).unwrap();
    assert!(choice.pools.iter().all(|pool| pool.architecture == Architecture::Arm64));
}

#[test]
fn on_demand_machines_are_not_interrupted_and_their_prices_are_estimates() {
    let wish = Wish { market: Market::OnDemand, interrupt_prob: 0, ..wish(4) };
    let choice = choose(&region(), &wish).unwrap();
    assert!(choice.pools.iter().all(|pool| pool.interruption.is_none() && pool.price_basis == PriceBasis::Savings));
    let unknown: Vec<Offer> = region().into_iter().map(|offer| Offer { savings: None, ..offer }).collect();
    let choice = choose(&unknown, &wish).unwrap();
    assert!(choice.pools.iter().all(|pool| pool.price_basis == PriceBasis::Size));
}

#[test]
fn errors_name_the_cause_and_the_nearest_alternative() {
    #[rustfmt::skip]
    let cases = [
        (
            Wish { instance_types: named(&["m5.xlarg"]), ..wish(4) },
            "EC2 has no machine type \"m5.xlarg\" in this region",
            "the nearest name is m5.xlarge",
        ),
        (
            Wish { instance_types: named(&["quantum"]), ..wish(4) },
            "EC2 has no machine type \"quantum\" in this region",
            "types are named like m5.large; not every region has every type (--cd-region)",
        ),
        (
            Wish { zones: Some(["x".into()].into()), ..wish(4) },
            "EC2 sells no spot machine of the x86_64 architecture in x",
            "choose a subnet (--cd-subnet) in a, b, c",
        ),
        (
            Wish { cpu_per_worker: 100.0, ..wish(4) },
            "no machine holds a worker of 100 CPUs and 2.0 GiB: the largest type, c5.24xlarge, has 96 CPUs, and 185.9 \
             GiB for workers",
            "lower --cd-cpu-per-worker or --cd-memory-per-worker, or name larger types (--cd-instance-type)",
        ),
        (
            Wish { memory_per_worker_mib: 1 << 20, ..wish(4) },
            "no machine holds a worker of 1 CPUs and 1.0 TiB: the largest type, r5.24xlarge, has 96 CPUs, and 744.7 \
             GiB for workers",
            "lower --cd-cpu-per-worker or --cd-memory-per-worker, or name larger types (--cd-instance-type)",
        ),
        (
            Wish { interrupt_prob: 5, ..wish(4) },
            "no machine's chance of being taken away is within 5 %: the lowest on offer is 5-10 % (c5.12xlarge)",
            "--cd-interrupt-prob 8 or higher, or 0 for on-demand machines, which are not taken away",
        ),
        (
            Wish { max_price: Some(0.01), ..wish(4) },
            "no spot machine costs $0.01 an hour or less: the cheapest, t3.xlarge in a, costs $0.0300",
            "--cd-max-price 0.0300 or higher",
        ),
    ];
    for (wish, message, help) in cases {
        let error = choose(&region(), &wish).unwrap_err();
        assert_eq!((error.to_string().as_str(), error.help().as_str()), (message, help));
    }
}

#[test]
fn the_other_market_is_named_where_it_helps() {
    let spotless = [Offer { spot: BTreeMap::new(), ..offer("m5.large", 2, 8192, 0.04) }];
    let error = choose(&spotless, &Wish { instance_types: named(&["m5.large"]), ..wish(2) }).unwrap_err();
    assert_eq!(error.to_string(), "EC2 sells no spot machine of type m5.large in this region");
    assert_eq!(error.help(), "on-demand (--cd-interrupt-prob 0) they are sold in a, b, c");
    let mut spot_only = offer("m5.large", 2, 8192, 0.04);
    spot_only.on_demand_zones.clear();
    let error = choose(&[spot_only], &Wish { market: Market::OnDemand, ..wish(2) }).unwrap_err();
    assert_eq!(error.help(), "as spot machines (--cd-interrupt-prob 80) they are sold in a, b, c");
    let error = choose(&[], &wish(2)).unwrap_err();
    assert_eq!(error.to_string(), "EC2 sells no spot machine of the x86_64 architecture in this region");
}

#[test]
fn the_price_that_the_help_names_is_enough() {
    let offers = [offer("m5.large", 2, 8192, 0.034_567_8)];
    let error = choose(&offers, &Wish { max_price: Some(0.01), ..wish(1) }).unwrap_err();
    assert_eq!(error.help(), "--cd-max-price 0.0346 or higher");
    assert!(choose(&offers, &Wish { max_price: Some(0.0346), ..wish(1) }).is_ok());
}

#[test]
fn withdrawn_pools_are_not_chosen_again() {
    let mut offers = region();
    let gone = choose(&offers, &wish(4)).unwrap().pools.remove(0);
    for offer in offers.iter_mut().filter(|offer| offer.instance_type == gone.instance_type) {
        offer.withdraw(&gone.zone, Market::Spot);
    }
    assert!(choose(&offers, &wish(4)).unwrap().pools.iter().all(|pool| pool.key() != gone.key()));
}

#[test]
fn named_types_must_run_the_same_programs() {
    let error = choose(&region(), &Wish { instance_types: named(&["m5.large", "m7g.xlarge"]), ..wish(4) }).unwrap_err();
    assert_eq!(
        error.to_string(),
        "m5.large and m7g.xlarge can't run the same programs: one is x86_64, the other arm64"
    );
}
