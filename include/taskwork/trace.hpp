// SPDX-License-Identifier: Apache-2.0
//
// A trace of transitions: what became of works, when, and in which thread. Off by default, and then
// it costs one load a transition. On, every transition in any context leaves a record in a ring of
// fixed size; when it is full the oldest go, and are counted.
#pragma once

#include <cstddef>
#include <cstdint>
#include <system_error>

namespace taskwork {

class Work;

namespace trace {

/// Starts to record, all works or `only` that one (until it is cancelled); what an earlier trace
/// recorded is gone. `records` is rounded up to a power of two, 48 bytes each. Errors:
/// not_enough_memory, invalid_argument (0 or more than 2^24; `only` has not been scheduled since it
/// was made or cancelled), device_or_resource_busy (it is on); as register_this_thread().
/// Context: task.
[[gnu::visibility("default")]] std::errc start(std::size_t records,
                                               const Work* only = nullptr) noexcept;

/// Stops; what was recorded can be written still.
/// Context: task.
[[gnu::visibility("default")]] void stop() noexcept;

/// How many records were made, those no longer in the ring included.
/// Context: any.
[[gnu::visibility("default")]] std::uint64_t recorded() noexcept;

/// Writes what is in the ring to a descriptor, as JSON that Perfetto (ui.perfetto.dev) and
/// chrome://tracing open: a track a thread with its callbacks, a span for each schedule from
/// pending to its end, and an arrow from where it was scheduled to where it ran. Errors: those of
/// write(2).
/// Context: task.
[[gnu::visibility("default")]] std::errc write_json(int descriptor) noexcept;

}  // namespace trace
}  // namespace taskwork
