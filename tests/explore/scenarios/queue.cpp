// SPDX-License-Identifier: Apache-2.0
//
// Queues and stacks.
#include <linux/bpf.h>

#include "tests/explore/scenarios/maps.hpp"

namespace explore {

namespace {

constexpr MapLimits kQueue{.type = BPF_MAP_TYPE_QUEUE, .entries = 2};
constexpr MapLimits kStack{.type = BPF_MAP_TYPE_STACK, .entries = 2};

const Registered kPushPush{{.name = "queue.push_push",
                            .about = "2 pushes",
                            .lay_out =
                                [](Setup& setup) {
                                    lay_out(setup,
                                            {.map = kQueue,
                                             .first = {},
                                             .threads = {{{Do::push, 0, 1}}, {{Do::push, 0, 2}}}});
                                },
                            .models = kAllModels}};

const Registered kPushPop{
    {.name = "queue.push_pop",
     .about = "push, 2 pops",
     .lay_out =
         [](Setup& setup) {
             lay_out(setup, {.map = kQueue,
                             .first = {},
                             .threads = {{{Do::push, 0, 1}}, {{Do::pop}, {Do::pop}}}});
         },
     .models = kAllModels}};

const Registered kPopPop{
    {.name = "queue.pop_pop", .about = "2 pops of 2 values", .lay_out = [](Setup& setup) {
         lay_out(setup, {.map = kQueue,
                         .first = {{Do::push, 0, 1}, {Do::push, 0, 2}},
                         .threads = {{{Do::pop}}, {{Do::pop}}}});
     }}};

const Registered kPeek{{.name = "queue.peek",
                        .about = "peek, pop and push that use its item again",
                        .lay_out =
                            [](Setup& setup) {
                                lay_out(setup,
                                        {.map = kQueue,
                                         .first = {{Do::push, 0, 1}},
                                         .threads = {{{Do::peek}}, {{Do::pop}, {Do::push, 0, 2}}}});
                            },
                        .models = kAllModels}};

const Registered kOver{{.name = "queue.push_over",
                        .about = "push with BPF_EXIST onto a full queue, pop",
                        .lay_out = [](Setup& setup) {
                            lay_out(setup, {.map = kQueue,
                                            .first = {{Do::push, 0, 1}, {Do::push, 0, 2}},
                                            .threads = {{{Do::push_over, 0, 3}}, {{Do::pop}}}});
                        }}};

const Registered kNmi{{.name = "queue.nmi",
                       .about = "push onto a queue, 1 nmi that pushes and pops",
                       .lay_out = [](Setup& setup) {
                           lay_out(setup, {.map = kQueue,
                                           .first = {{Do::push, 0, 1}},
                                           .threads = {{{Do::push, 0, 2}}},
                                           .nmi = {{Do::push, 0, 3}, {Do::pop}}});
                       }}};

const Registered kNmiLap{{.name = "queue.nmi_lap",
                          .about = "push, 1 nmi by which its cell is used again",
                          .lay_out = [](Setup& setup) {
                              lay_out(setup, {.map = kQueue,
                                              .first = {},
                                              .threads = {{{Do::push, 0, 1}}},
                                              .nmi = {{Do::push, 0, 2},
                                                      {Do::pop},
                                                      {Do::push, 0, 3},
                                                      {Do::pop},
                                                      {Do::push, 0, 4},
                                                      {Do::pop}}});
                          }}};

const Registered kStackPushPop{
    {.name = "queue.stack", .about = "push and pop of a stack", .lay_out = [](Setup& setup) {
         lay_out(setup, {.map = kStack,
                         .first = {{Do::push, 0, 1}},
                         .threads = {{{Do::push, 0, 2}}, {{Do::pop}}}});
     }}};

const Registered kStackNmi{{.name = "queue.stack_nmi",
                            .about = "pop of a stack, 1 nmi that pops and pushes",
                            .lay_out = [](Setup& setup) {
                                lay_out(setup, {.map = kStack,
                                                .first = {{Do::push, 0, 1}, {Do::push, 0, 2}},
                                                .threads = {{{Do::pop}}},
                                                .nmi = {{Do::pop}, {Do::push, 0, 3}}});
                            }}};

const Registered kDeath{{.name = "queue.death",
                         .about = "push with BPF_EXIST that dies, pop, sweep",
                         .lay_out = [](Setup& setup) {
                             lay_out(setup, {.map = kQueue,
                                             .first = {{Do::push, 0, 1}, {Do::push, 0, 2}},
                                             .threads = {{{Do::push_over, 0, 3}}, {{Do::pop}}},
                                             .first_dies = true});
                         }}};

}  // namespace

}  // namespace explore
