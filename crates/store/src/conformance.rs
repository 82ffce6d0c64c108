//! What every implementation of the port is held to: one function for each sentence of [`crate::port`],
//! and [`store_conformance!`](crate::store_conformance) to run all of them.
//!
//! The suite knows the port and nothing behind it. It asks for nothing but an empty store.

pub mod deadlines;
pub mod devices;
pub mod given;
pub mod history;
pub mod messages;
pub mod notices;
pub mod receipts;
pub mod retention;
pub mod settings;
pub mod statistics;

use std::future::Future;

/// Runs a test on a runtime of its own, with as many threads as a node would have at least.
///
/// # Panics
/// When the test does, or when there is no runtime to be had.
pub fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build();
    runtime.unwrap_or_else(|error| panic!("no runtime: {error}")).block_on(test);
}

/// Makes a module of tests that holds a store to the port. The constructor is an expression for a closure
/// that answers an empty store, and whatever has to live as long as the store: `(store, guard)`.
///
/// ```ignore
/// store_conformance!(memory, || (MemoryStore::new(Epoch(1)), ()));
/// ```
#[macro_export]
macro_rules! store_conformance {
    ($name:ident, $constructor:expr) => {
        mod $name {
            #[allow(unused_imports)]
            use super::*;

            $crate::store_conformance_tests! { $constructor;
                messages: numbers_grow_by_order_of_appending, an_append_has_its_place_from_the_first_poll_on,
                    offsets_count_each_topic_from_1,
                    a_message_is_answered_as_it_is_stored, several_topics_get_one_message,
                    a_repeated_id_is_a_duplicate, a_repeated_id_in_one_call_is_a_duplicate,
                    another_push_under_an_id_is_a_conflict, an_id_is_free_after_a_day,
                    an_id_that_is_kept_is_never_looked_up, an_id_that_is_made_leads_to_its_message,
                    a_scheduled_message_keeps_the_id_that_was_made, an_unknown_number_is_none,
                    reading_after_a_number, reading_after_an_offset, the_newest_are_kept, a_long_log_is_read_like_a_short_one,
                    an_empty_topic_is_empty, topics_with_like_names_are_apart,
                    namespaces_have_their_own_messages, memory_is_readable_too,
                    a_topic_is_read_back_from_anywhere, a_collapse_key_takes_the_place_of_older_messages,
                    a_collapse_key_remembers_within_one_call, a_scheduled_message_becomes_another_one,
                    large_and_odd_payloads_come_back, appending_at_once, nothing_is_appended_by_nothing;
                deadlines: messages_leave_deadlines, what_is_due_comes_in_the_order_of_time,
                    what_was_dealt_with_is_gone;
                devices: a_new_device_starts_at_the_head, a_known_device_is_recognised,
                    what_is_kept_of_a_device_stays_with_it, what_is_kept_is_its_users,
                    another_user_starts_anew, what_is_forgotten_comes_as_new, nobody_is_another_user_than_somebody,
                    ordinals_are_never_reused, rooms_are_idempotent, rooms_are_sorted,
                    rooms_of_nobody_are_none, cursors_never_go_back, devices_are_found_each_way,
                    owners_are_those_of_now,
                    the_census_is_the_sum_of_all_changes, namespaces_have_their_own_devices,
                    registering_at_once;
                receipts: receipts_are_replaced, steps_are_added, namespaces_have_their_own_receipts;
                statistics: rows_are_replaced_and_removed, rows_are_read_by_time,
                    namespaces_have_their_own_rows;
                notices: notices_wait_in_the_order_of_their_ids, hooks_have_their_own_notices,
                    attempts_are_noted, what_is_given_up_is_kept,
                    notices_and_settings_change_in_one_step;
                retention: buckets_count_what_was_accepted, what_is_trimmed_is_gone, a_trimmed_topic_goes_on,
                    a_trimmed_id_is_free, what_is_trimmed_is_not_collapsed, what_has_happened_is_erased,
                    everything_is_erased;
                history: messages_come_in_a_row, the_index_grows, a_search_goes_on_where_it_stopped,
                    what_is_scheduled_is_known, what_was_recalled_is_known;
                settings: settings_are_set_and_removed, settings_are_listed_by_prefix,
                    the_epoch_stays, a_closed_store_refuses, closing_keeps_what_came_before;
            }
        }
    };
}

/// The tests of [`store_conformance!`], written out.
#[doc(hidden)]
#[macro_export]
macro_rules! store_conformance_tests {
    ($constructor:expr; $($module:ident: $($test:ident),*;)*) => {$($(
        #[test]
        fn $test() {
            let (store, _guard) = ($constructor)();
            $crate::conformance::run($crate::conformance::$module::$test(&store));
        }
    )*)*};
}
