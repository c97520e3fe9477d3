// SPDX-License-Identifier: Apache-2.0
#include "uapi/uapi.hpp"

#include <cstdint>
#include <string>

#include "bpf/program.hpp"
#include "defer/task_work.hpp"
#include "event/event.hpp"
#include "map/map.hpp"
#include "map/program_array.hpp"
#include "sync/arena.hpp"
#include "task/run_point.hpp"
#include "uapi/descriptors.hpp"
#include "uapi/map_access.hpp"
#include "uapi/registry.hpp"
#include "uapi/ring_poll.hpp"
#include "uapi/thread.hpp"

namespace taskwork::uapi {
namespace {

Result<void> check(std::errc error, const char* what) {
    if (error == no_error) {
        return {};
    }
    return Error{error, std::string("cannot set up ") + what + ": " +
                            std::make_error_code(error).message()};
}

bool has(sync::Root root) { return sync::Arena::root<void>(root) != nullptr; }

}  // namespace

Result<void> start() {
    if (!sync::Arena::present() || !sync::Arena::is_host()) {
        return Error{std::errc::no_such_process, "this process is not the host of a domain"};
    }
    map::set_program_release([](void* program) noexcept {
        taskwork::bpf::put_program(*static_cast<taskwork::bpf::Program*>(program));
    });
    map::set_event_release(let_go_of_event);
    Result<void> made;
    if (!has(sync::Root::works)) {
        made = check(defer::WorkTable::create(defer::WorkTable::kContextsDefault),
                     "the table of works");
    }
    if (made && !has(sync::Root::maps)) {
        made = check(map::MapTable::create(), "the table of maps");
    }
    if (made && !has(sync::Root::programs)) {
        made = check(taskwork::bpf::ProgramTable::create(), "the table of programs");
    }
    if (made && !has(sync::Root::events)) {
        made = check(event::EventTable::create(), "the table of events");
    }
    if (!made) {
        return made;
    }
    defer::WorkTable::join();
    taskwork::bpf::join();
    event::join();
    start_ring_poll();
    if (task::Task* task = own_task(); task != nullptr) {
        taskwork::bpf::describe_task(*task);  // the worker has registered it
    }
    return check(task::install_handler(), "the handler of our signal");
}

map::Map* map_of(int descriptor) {
    int error = 0;
    const auto object = object_as<MapObject>(descriptor, error);
    return object == nullptr ? nullptr : &object->map();
}

taskwork::bpf::Program* program_of(int descriptor) {
    int error = 0;
    const auto object = object_as<ProgramObject>(descriptor, error);
    return object == nullptr ? nullptr : &object->program();
}

const struct btf* btf_of(const map::Map& map) {
    const std::shared_ptr<BtfObject> btf = retained_btf(map);
    return btf == nullptr ? nullptr : btf->types();
}

}  // namespace taskwork::uapi
