// SPDX-License-Identifier: Apache-2.0
//
// LRU hashes that are full: insertions that evict, interrupted by and beside others (HT.4, HT.5 in
// map/hash_table.hpp).
#include <linux/bpf.h>

#include "tests/explore/scenarios/maps.hpp"

namespace explore {

namespace {

constexpr MapLimits kTwo{.type = BPF_MAP_TYPE_LRU_HASH, .entries = 2};
constexpr MapLimits kOne{.type = BPF_MAP_TYPE_LRU_HASH, .entries = 1};

const Registered kInsert{
    {.name = "lru.insert_insert",
     .about = "2 insertions into a full map of 2",
     .lay_out =
         [](Setup& setup) {
             lay_out(setup, {.map = kTwo,
                             .first = {{Do::update, kA, 1}, {Do::update, kB, 2}},
                             .threads = {{{Do::update, kC, 3}}, {{Do::update, kC, 4}}}});
         },
     .models = {Model::sc}}};

const Registered kInsertOne{
    {.name = "lru.insert_one",
     .about = "2 insertions into a full map of 1 (HT.5)",
     .lay_out = [](Setup& setup) {
         lay_out(setup, {.map = kOne,
                         .first = {{Do::update, kA, 1}},
                         .threads = {{{Do::update, kB, 2}}, {{Do::update, kC, 3}}}});
     }}};

const Registered kInsertRemove{
    {.name = "lru.insert_remove",
     .about = "insertion into a full map, deletion of what it may evict",
     .lay_out = [](Setup& setup) {
         lay_out(setup, {.map = kOne,
                         .first = {{Do::update, kA, 1}},
                         .threads = {{{Do::update, kB, 2}}, {{Do::remove, kA}}}});
     }}};

const Registered kInsertReplace{
    {.name = "lru.insert_replace",
     .about = "insertion into a full map, replacement of what it may evict",
     .lay_out = [](Setup& setup) {
         lay_out(setup, {.map = kOne,
                         .first = {{Do::update, kA, 1}},
                         .threads = {{{Do::update, kB, 2}}, {{Do::update, kA, 3}}}});
     }}};

const Registered kInsertLookup{
    {.name = "lru.insert_lookup",
     .about = "insertion that evicts what a reader holds",
     .lay_out =
         [](Setup& setup) {
             lay_out(setup, {.map = kOne,
                             .first = {{Do::update, kA, 1}},
                             .threads = {{{Do::lookup, kA}}, {{Do::update, kB, 2}}}});
         },
     .models = kAllModels}};

const Registered kReferenced{
    {.name = "lru.referenced",
     .about = "lookup, then an insertion that evicts the other element (HT.4)",
     .lay_out = [](Setup& setup) {
         auto& tested = lay_out(
             setup, {.map = kTwo,
                     .first = {{Do::update, kA, 1}, {Do::update, kB, 2}},
                     .threads = {{{Do::lookup, kA}, {Do::update, kC, 3}}, {{Do::lookup, kC}}}});
         tested.also([](const TestedMap::Content& content) {
             check(content[kA] != 0, "evicted",
                   "an element that was referenced is evicted before the other");
         });
     }}};

const Registered kReplaced{
    {.name = "lru.replaced",
     .about = "replacement, then an insertion that evicts the other element (HT.4)",
     .lay_out = [](Setup& setup) {
         auto& tested = lay_out(
             setup, {.map = kTwo,
                     .first = {{Do::update, kA, 1}, {Do::update, kB, 2}},
                     .threads = {{{Do::update, kA, 4}, {Do::update, kC, 3}}, {{Do::lookup, kB}}}});
         tested.also([](const TestedMap::Content& content) {
             check(content[kA] != 0, "evicted",
                   "an element that was replaced is evicted before the other");
         });
     }}};

const Registered kNmiInsert{
    {.name = "lru.nmi_insert",
     .about = "insertion into a full map of 2, 1 nmi that inserts another key",
     .lay_out = [](Setup& setup) {
         lay_out(setup, {.map = kTwo,
                         .first = {{Do::update, kA, 1}, {Do::update, kB, 2}},
                         .threads = {{{Do::update, kC, 3}}},
                         .nmi = {{Do::update, kD, 4}}});
     }}};

const Registered kNmiInsertOne{
    {.name = "lru.nmi_insert_one",
     .about = "insertion into a full map of 1, 1 nmi that inserts another key (HT.5)",
     .lay_out = [](Setup& setup) {
         lay_out(setup, {.map = kOne,
                         .first = {{Do::update, kA, 1}},
                         .threads = {{{Do::update, kB, 2}}},
                         .nmi = {{Do::update, kC, 3}}});
     }}};

const Registered kNmiSame{{.name = "lru.nmi_same",
                           .about = "insertion into a full map, 1 nmi that inserts the same key",
                           .lay_out = [](Setup& setup) {
                               lay_out(setup, {.map = kTwo,
                                               .first = {{Do::update, kA, 1}, {Do::update, kB, 2}},
                                               .threads = {{{Do::update, kC, 3}}},
                                               .nmi = {{Do::update, kC, 4}}});
                           }}};

const Registered kNmiOnRemove{{.name = "lru.nmi_on_remove",
                               .about = "deletion, 1 nmi that inserts into the full map",
                               .lay_out = [](Setup& setup) {
                                   lay_out(setup,
                                           {.map = kTwo,
                                            .first = {{Do::update, kA, 1}, {Do::update, kB, 2}},
                                            .threads = {{{Do::remove, kA}}},
                                            .nmi = {{Do::update, kC, 3}}});
                               }}};

const Registered kNmiRemove{{.name = "lru.nmi_remove",
                             .about = "insertion into a full map, 1 nmi that deletes and looks up",
                             .lay_out = [](Setup& setup) {
                                 lay_out(setup,
                                         {.map = kTwo,
                                          .first = {{Do::update, kA, 1}, {Do::update, kB, 2}},
                                          .threads = {{{Do::update, kC, 3}}},
                                          .nmi = {{Do::remove, kA}, {Do::lookup, kB}}});
                             }}};

const Registered kHeld{{.name = "lru.held",
                        .about = "reader of what is evicted, worker that frees",
                        .lay_out =
                            [](Setup& setup) {
                                lay_out(setup,
                                        {.map = kOne,
                                         .first = {{Do::update, kA, 1}},
                                         .threads = {{{Do::lookup, kA}}, {{Do::update, kB, 2}}},
                                         .worker_rounds = 2});
                            },
                        .large = true}};

const Registered kHeldNmi{{.name = "lru.held_nmi",
                           .about = "reader, 1 nmi that evicts what it holds, worker that frees",
                           .lay_out = [](Setup& setup) {
                               lay_out(setup, {.map = kOne,
                                               .first = {{Do::update, kA, 1}},
                                               .threads = {{{Do::lookup, kA}}},
                                               .nmi = {{Do::update, kB, 2}},
                                               .worker_rounds = 2});
                           }}};

const Registered kDeath{{.name = "lru.death_insert",
                         .about = "insertion into a full map that dies, deletion, sweep",
                         .lay_out = [](Setup& setup) {
                             lay_out(setup, {.map = kOne,
                                             .first = {{Do::update, kA, 1}},
                                             .threads = {{{Do::update, kB, 2}}, {{Do::remove, kA}}},
                                             .first_dies = true});
                         }}};

}  // namespace

}  // namespace explore
