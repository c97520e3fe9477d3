// SPDX-License-Identifier: Apache-2.0
#include "bpf/helpers.hpp"

#include <linux/bpf.h>

#include <array>
#include <cstddef>
#include <utility>

#include "bpf/jit/adapter.hpp"

namespace taskwork::bpf {

namespace {

#define TW_HELPER_NAME(name) "bpf_" #name
constexpr const char* kNames[] = {__BPF_FUNC_MAPPER(TW_HELPER_NAME)};
#undef TW_HELPER_NAME

constexpr std::size_t kHelpers = std::size(kNames);

/// Licence and sleeping as the kernel has them.
constexpr std::array<Helper, kHelpers> make_table() {
    constexpr bool gpl = true;
    const auto plain = [](HelperFunction function, bool gpl_only = false) {
        return Helper{.function = function, .gpl_only = gpl_only, .needs = Helper::Needs::nothing};
    };
    const auto brief = [](HelperFunction function) {
        return Helper{.function = function, .needs = Helper::Needs::arguments};
    };
    std::array<Helper, kHelpers> table{};
    table[BPF_FUNC_map_lookup_elem] = {map_lookup_elem};
    table[BPF_FUNC_map_update_elem] = {map_update_elem};
    table[BPF_FUNC_map_delete_elem] = {map_delete_elem};
    table[BPF_FUNC_probe_read] = {probe_read, gpl};
    table[BPF_FUNC_ktime_get_ns] = plain(ktime_get_ns);
    table[BPF_FUNC_trace_printk] = {trace_printk, gpl};
    table[BPF_FUNC_get_prandom_u32] = plain(get_prandom_u32);
    table[BPF_FUNC_get_smp_processor_id] = plain(get_smp_processor_id);
    table[BPF_FUNC_get_current_pid_tgid] = plain(get_current_pid_tgid);
    table[BPF_FUNC_get_current_uid_gid] = plain(get_current_uid_gid);
    table[BPF_FUNC_get_current_comm] = {get_current_comm};
    table[BPF_FUNC_get_current_task] = plain(get_current_task, gpl);
    table[BPF_FUNC_get_numa_node_id] = plain(get_numa_node_id);
    table[BPF_FUNC_probe_read_str] = {probe_read_str, gpl};
    table[BPF_FUNC_perf_event_output] = {perf_event_output, gpl};
    table[BPF_FUNC_get_stackid] = {get_stackid, gpl};
    table[BPF_FUNC_get_stack] = {get_stack, gpl};
    table[BPF_FUNC_spin_lock] = {spin_lock};
    table[BPF_FUNC_spin_unlock] = {spin_unlock, false, false, true};
    table[BPF_FUNC_map_push_elem] = {map_push_elem};
    table[BPF_FUNC_map_pop_elem] = {map_pop_elem};
    table[BPF_FUNC_map_peek_elem] = {map_peek_elem};
    table[BPF_FUNC_probe_read_user] = {probe_read_user, gpl};
    table[BPF_FUNC_probe_read_kernel] = {probe_read_kernel, gpl};
    table[BPF_FUNC_probe_read_user_str] = {probe_read_user_str, gpl};
    table[BPF_FUNC_probe_read_kernel_str] = {probe_read_kernel_str, gpl};
    table[BPF_FUNC_ktime_get_boot_ns] = plain(ktime_get_boot_ns);
    table[BPF_FUNC_ringbuf_output] = {ringbuf_output};
    table[BPF_FUNC_ringbuf_reserve] = brief(ringbuf_reserve);
    table[BPF_FUNC_ringbuf_submit] = brief(ringbuf_submit);
    table[BPF_FUNC_ringbuf_discard] = brief(ringbuf_discard);
    table[BPF_FUNC_ringbuf_query] = {ringbuf_query};
    table[BPF_FUNC_copy_from_user] = {probe_read_user, false, true};
    table[BPF_FUNC_get_current_task_btf] = plain(get_current_task, gpl);
    table[BPF_FUNC_ktime_get_coarse_ns] = plain(ktime_get_coarse_ns);
    table[BPF_FUNC_for_each_map_elem] = {for_each_map_elem};
    table[BPF_FUNC_snprintf] = {snprintf, gpl};
    table[BPF_FUNC_get_attach_cookie] = {get_attach_cookie};
    table[BPF_FUNC_trace_vprintk] = {trace_vprintk, gpl};
    table[BPF_FUNC_loop] = {loop};
    table[BPF_FUNC_strncmp] = {compare_strings};
    table[BPF_FUNC_tail_call] = {tail_call};
    table[BPF_FUNC_map_lookup_percpu_elem] = {map_lookup_percpu_elem};
    table[BPF_FUNC_ktime_get_tai_ns] = plain(ktime_get_tai_ns);
    return table;
}

constexpr std::array<Helper, kHelpers> kTable = make_table();
constexpr Helper kNoHelper{};

template <std::size_t id>
constexpr jit::NativeHelper native() {
    if constexpr (kTable[id].needs == Helper::Needs::nothing) {
        return jit::bare_adapter<kTable[id].function>;
    } else if constexpr (kTable[id].needs == Helper::Needs::arguments) {
        return jit::brief_adapter<kTable[id].function, kHelperCost>;
    } else {
        return jit::adapter<kTable[id].function, kHelperCost>;
    }
}
template <std::size_t... id>
constexpr std::array<jit::NativeHelper, kHelpers> make_native_table(std::index_sequence<id...>) {
    return {native<id>()...};
}
constexpr std::array<jit::NativeHelper, kHelpers> kNativeTable =
    make_native_table(std::make_index_sequence<kHelpers>());

}  // namespace

const jit::NativeHelper* native_helpers() noexcept { return kNativeTable.data(); }

const Helper& helper(std::int32_t id) noexcept {
    return id >= 0 && static_cast<std::size_t>(id) < kHelpers ? kTable[static_cast<std::size_t>(id)]
                                                              : kNoHelper;
}

std::string helper_name(std::int32_t id) {
    const bool known = id > 0 && static_cast<std::size_t>(id) < kHelpers;
    return (known ? kNames[id] : "unknown") + ("#" + std::to_string(id));
}

}  // namespace taskwork::bpf
