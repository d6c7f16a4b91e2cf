//! Collecting first, and what collection errors do.

use cloudist::scheduler::{CollectionErrors, Ending};

use super::*;

fn collecting_first() -> Story {
    Story::new(config(Mode::Test, Collect::First, 2))
}

#[test]
fn nothing_runs_before_the_last_file_is_collected() {
    let mut story = collecting_first().with(2, 2);
    assert_eq!(story.wanted, [only_collect(0, 0), only_collect(1, 1)]);
    assert_eq!(story.collects(0, 0, 2), []);
    assert_eq!(
        story.collects(1, 1, 2)[..],
        [complete(4), run(0, 0, [0]), run(1, 1, [0]), run(0, 0, [1]), run(1, 1, [1])]
    );
}

#[test]
fn with_errors_nothing_runs_at_all() {
    let mut story = collecting_first().with(2, 2);
    assert_eq!(story.fails_to_collect(0, 0), []);
    let ending = Ending::CollectionErrors;
    assert_eq!(story.collects(1, 1, 4), [complete(4), close(0), close(1), Action::Finished { ending }]);
}

#[test]
fn errors_of_the_local_collection_count() {
    let mut story = collecting_first();
    story.tell(Input::FilesFound(1));
    story.joins(0, HERE);
    story.collects(0, 0, 4);
    let ending = Ending::CollectionErrors;
    assert_eq!(story.tell(Input::FilesEnd { errors: 1 }), [complete(4), close(0), Action::Finished { ending }]);
}

#[test]
fn with_errors_the_rest_runs_if_it_is_to_continue() {
    let mut rules = config(Mode::Test, Collect::First, 2);
    rules.collection_errors = CollectionErrors::Continue;
    let mut story = Story::new(rules).with(2, 2);
    story.fails_to_collect(0, 0);
    assert!(story.collects(1, 1, 4).contains(&complete(4)));
    assert_eq!(story.scheduler.ending(), None);
}

#[test]
fn an_error_while_streaming_stops_execution_but_not_collection() {
    let mut story = Story::streaming().with(5, 2);
    story.collects(0, 0, 4);
    assert_eq!(story.fails_to_collect(1, 1), [recall(0, 5), only_collect(1, 4)]);
    assert_eq!(story.returns(0, &[test(0, 1), test(0, 2), test(0, 3)], &[2]), [only_collect(0, 2)]);
    // This one was being collected, in order to run it, when the error came.
    assert_eq!(story.collects(1, 3, 2), [recall(1, 3)]);
    assert_eq!(story.returns(1, &[test(3, 1)], &[4]), [only_collect(1, 4)]);
    assert_eq!(story.finishes(1, test(3, 0)), []);
    assert_eq!(story.collects(1, 4, 1), [recall(0, 1)]);
    assert_eq!(story.returns(0, &[], &[2]), [only_collect(1, 2)]);
    assert_eq!(story.finishes(0, test(0, 0)), []);
    let ending = Ending::CollectionErrors;
    assert_eq!(story.collects(1, 2, 1), [complete(8), close(0), close(1), Action::Finished { ending }]);
}

#[test]
fn a_file_that_was_about_to_run_when_an_error_came_is_swept() {
    let mut story = Story::streaming().with(2, 2);
    assert_eq!(story.fails_to_collect(1, 1), []);
    assert_eq!(story.collects(0, 0, 3), [complete(3), recall(0, 3)]);
    story.returns(0, &[test(0, 1), test(0, 2)], &[]);
    assert_eq!(story.finishes(0, test(0, 0)).last(), Some(&Action::Finished { ending: Ending::CollectionErrors }));
}

#[test]
fn a_collection_that_kills_its_process_is_an_error() {
    let mut story = collecting_first().with(2, 2);
    assert_eq!(story.dies(0, None, Some(0)), []);
    assert_eq!(story.verdict, Verdict::Accepted);
    assert_eq!(story.collects(1, 1, 4).last(), Some(&Action::Finished { ending: Ending::CollectionErrors }));
}

#[test]
fn a_late_joiner_is_given_tests_that_wait_for_another() {
    let mut story = collecting_first().with(1, 1);
    story.collects(0, 0, 20);
    let wanted = story.joins(1, THERE);
    assert!(matches!(wanted[..], [Action::Run { worker, .. }] if worker == gw(1)), "{wanted:?}");
}
