// SPDX-License-Identifier: Apache-2.0
//
// Hashes: insertion, replacement, deletion and lookup of one key and of keys in one bucket, by
// threads and the handlers on them; spares; death. What holds of them: map/hash_table.hpp.
#include <linux/bpf.h>

#include "tests/explore/scenarios/maps.hpp"

namespace explore {

namespace {

constexpr MapLimits kTwo{.type = BPF_MAP_TYPE_HASH, .entries = 2};
constexpr MapLimits kOne{.type = BPF_MAP_TYPE_HASH, .entries = 1};
/// One spare left.
constexpr MapLimits kScarce{.type = BPF_MAP_TYPE_HASH, .entries = 2, .spares = 1};

// --- Two threads ---------------------------------------------------------------------------------

const Registered kInsertSame{
    {.name = "hash.insert_insert", .about = "2 insertions of one key", .lay_out = [](Setup& setup) {
         lay_out(
             setup,
             {.map = kTwo, .first = {}, .threads = {{{Do::update, kA, 1}}, {{Do::insert, kA, 2}}}});
     }}};

const Registered kInsertTwo{
    {.name = "hash.insert_beside",
     .about = "2 insertions of two keys in one bucket",
     .lay_out = [](Setup& setup) {
         lay_out(
             setup,
             {.map = kTwo, .first = {}, .threads = {{{Do::update, kA, 1}}, {{Do::update, kB, 2}}}});
     }}};

const Registered kReplaceReplace{
    {.name = "hash.replace_replace",
     .about = "2 replacements of one key",
     .lay_out = [](Setup& setup) {
         lay_out(setup, {.map = kTwo,
                         .first = {{Do::update, kA, 1}},
                         .threads = {{{Do::update, kA, 2}}, {{Do::update, kA, 3}}}});
     }}};

const Registered kReplaceRemove{
    {.name = "hash.replace_remove",
     .about = "replacement and deletion of one key",
     .lay_out = [](Setup& setup) {
         lay_out(setup, {.map = kTwo,
                         .first = {{Do::update, kA, 1}},
                         .threads = {{{Do::replace, kA, 2}}, {{Do::remove, kA}}}});
     }}};

const Registered kRemoveRemove{{.name = "hash.remove_remove",
                                .about = "2 deletions of one key, one of which takes the value",
                                .lay_out = [](Setup& setup) {
                                    lay_out(setup,
                                            {.map = kTwo,
                                             .first = {{Do::update, kA, 1}},
                                             .threads = {{{Do::take, kA}}, {{Do::remove, kA}}}});
                                }}};

const Registered kRemoveBeside{{.name = "hash.remove_beside",
                                .about = "2 deletions of neighbours in a bucket",
                                .lay_out = [](Setup& setup) {
                                    lay_out(setup,
                                            {.map = kTwo,
                                             .first = {{Do::update, kA, 1}, {Do::update, kB, 2}},
                                             .threads = {{{Do::remove, kA}}, {{Do::remove, kB}}}});
                                }}};

const Registered kRemoveInsert{
    {.name = "hash.remove_insert",
     .about = "deletion from a full map, insertion of another key (HT.2)",
     .lay_out = [](Setup& setup) {
         lay_out(setup, {.map = kOne,
                         .first = {{Do::update, kA, 1}},
                         .threads = {{{Do::remove, kA}}, {{Do::update, kB, 2}}}});
     }}};

const Registered kLookupInsert{
    {.name = "hash.lookup_insert",
     .about = "lookup of a key that is being inserted",
     .lay_out =
         [](Setup& setup) {
             lay_out(setup, {.map = kTwo,
                             .first = {},
                             .threads = {{{Do::lookup, kA}}, {{Do::update, kA, 1}}}});
         },
     .models = kAllModels}};

const Registered kLookupReplace{
    {.name = "hash.lookup_replace",
     .about = "lookup of a key that is replaced (HT.1)",
     .lay_out =
         [](Setup& setup) {
             lay_out(setup, {.map = kTwo,
                             .first = {{Do::update, kA, 1}},
                             .threads = {{{Do::lookup, kA}}, {{Do::update, kA, 2}}}});
         },
     .models = kAllModels}};

const Registered kLookupRemove{
    {.name = "hash.lookup_remove",
     .about = "lookup behind an element that is deleted, and of it",
     .lay_out =
         [](Setup& setup) {
             lay_out(setup,
                     {.map = kTwo,
                      .first = {{Do::update, kA, 1}, {Do::update, kB, 2}},
                      .threads = {{{Do::lookup, kA}, {Do::lookup, kB}}, {{Do::remove, kB}}}});
         },
     .models = kAllModels}};

const Registered kInsertRemove{
    {.name = "hash.insert_remove",
     .about = "insertion and deletion of one key",
     .lay_out = [](Setup& setup) {
         lay_out(
             setup,
             {.map = kTwo, .first = {}, .threads = {{{Do::update, kA, 1}}, {{Do::remove, kA}}}});
     }}};

const Registered kLookupBehind{
    {.name = "hash.lookup_behind",
     .about = "lookup of what lies behind an element that is being inserted",
     .lay_out =
         [](Setup& setup) {
             lay_out(setup, {.map = kTwo,
                             .first = {{Do::update, kB, 1}},
                             .threads = {{{Do::lookup, kB}}, {{Do::update, kA, 2}}}});
         },
     .models = kAllModels}};

// --- Handlers ------------------------------------------------------------------------------------

const Registered kNmiInsert{{.name = "hash.nmi_insert",
                             .about = "insertion, 1 nmi that inserts the same key",
                             .lay_out = [](Setup& setup) {
                                 lay_out(setup, {.map = kTwo,
                                                 .first = {},
                                                 .threads = {{{Do::update, kA, 1}}},
                                                 .nmi = {{Do::insert, kA, 2}}});
                             }}};

const Registered kNmiReplace{
    {.name = "hash.nmi_replace",
     .about = "replacement, 1 nmi that deletes the key and inserts it anew",
     .lay_out = [](Setup& setup) {
         lay_out(setup, {.map = kTwo,
                         .first = {{Do::update, kA, 1}},
                         .threads = {{{Do::update, kA, 2}}},
                         .nmi = {{Do::remove, kA}, {Do::update, kA, 3}}});
     }}};

const Registered kNmiRemove{
    {.name = "hash.nmi_remove",
     .about = "deletion from a full map, 1 nmi that inserts another key (HT.2)",
     .lay_out = [](Setup& setup) {
         lay_out(setup, {.map = kOne,
                         .first = {{Do::update, kA, 1}},
                         .threads = {{{Do::remove, kA}}},
                         .nmi = {{Do::lookup, kA}, {Do::update, kB, 2}}});
     }}};

const Registered kNmiLookup{
    {.name = "hash.nmi_lookup",
     .about = "lookup, 1 nmi that replaces the key and deletes its neighbour",
     .lay_out = [](Setup& setup) {
         lay_out(setup, {.map = kTwo,
                         .first = {{Do::update, kA, 1}, {Do::update, kB, 2}},
                         .threads = {{{Do::lookup, kA}}},
                         .nmi = {{Do::update, kA, 3}, {Do::remove, kB}}});
     }}};

const Registered kNmiThread{{.name = "hash.nmi_and_thread",
                             .about = "replacement, 1 nmi that deletes the key, a reader of it",
                             .lay_out = [](Setup& setup) {
                                 lay_out(setup,
                                         {.map = kTwo,
                                          .first = {{Do::update, kA, 1}},
                                          .threads = {{{Do::update, kA, 2}}, {{Do::lookup, kA}}},
                                          .nmi = {{Do::remove, kA}}});
                             }}};

const Registered kNmiRemoveThread{
    {.name = "hash.nmi_remove_and_thread",
     .about = "deletion from a full map, 1 nmi that inserts, another inserter",
     .lay_out =
         [](Setup& setup) {
             lay_out(setup, {.map = kOne,
                             .first = {{Do::update, kA, 1}},
                             .threads = {{{Do::remove, kA}}, {{Do::update, kC, 3}}},
                             .nmi = {{Do::update, kB, 2}}});
         },
     .large = true}};

const Registered kNmiRemoveApart{
    {.name = "hash.nmi_remove_apart",
     .about = "deletion from a full map, 1 nmi that inserts into another bucket (HT.2)",
     .lay_out = [](Setup& setup) {
         lay_out(setup, {.map = kTwo,
                         .first = {{Do::update, kA, 1}, {Do::update, kB, 2}},
                         .threads = {{{Do::remove, kA}}},
                         .nmi = {{Do::lookup, kA}, {Do::update, kD, 3}, {Do::lookup, kA}}});
     }}};

// --- Spares --------------------------------------------------------------------------------------

const Registered kSpareReplace{
    {.name = "hash.spare_replace",
     .about = "2 replacements, 1 spare (-ENOMEM)",
     .lay_out = [](Setup& setup) {
         lay_out(setup, {.map = kScarce,
                         .first = {{Do::update, kA, 1}},
                         .threads = {{{Do::update, kA, 2}}, {{Do::update, kA, 3}}}});
     }}};

const Registered kSpareNmi{{.name = "hash.spare_nmi",
                            .about = "replacement, 1 nmi that replaces another key, 1 spare",
                            .lay_out = [](Setup& setup) {
                                lay_out(setup, {.map = kScarce,
                                                .first = {{Do::update, kB, 1}, {Do::update, kA, 2}},
                                                .threads = {{{Do::update, kA, 3}}},
                                                .nmi = {{Do::update, kB, 4}}});
                            }}};

const Registered kHeld{{.name = "hash.held",
                        .about = "reader that holds a value, replacement, worker that frees",
                        .lay_out =
                            [](Setup& setup) {
                                lay_out(setup,
                                        {.map = kTwo,
                                         .first = {{Do::update, kA, 1}},
                                         .threads = {{{Do::lookup, kA}}, {{Do::update, kA, 2}}},
                                         .worker_rounds = 2});
                            },
                        .large = true}};

const Registered kHeldNmi{{.name = "hash.held_nmi",
                           .about = "reader, 1 nmi that deletes what it holds, worker that frees",
                           .lay_out = [](Setup& setup) {
                               lay_out(setup, {.map = kTwo,
                                               .first = {{Do::update, kA, 1}},
                                               .threads = {{{Do::lookup, kA}}},
                                               .nmi = {{Do::remove, kA}},
                                               .worker_rounds = 2});
                           }}};

const Registered kUsedAgain{
    {.name = "hash.used_again",
     .about = "deletion, worker that frees, insertion that uses the memory again, reader",
     .lay_out =
         [](Setup& setup) {
             lay_out(setup,
                     {.map = kOne,
                      .first = {{Do::update, kA, 1}},
                      .threads = {{{Do::remove, kA}, {Do::update, kB, 2}}, {{Do::lookup, kA}}},
                      .worker_rounds = 2});
         },
     .large = true}};

// --- Death ---------------------------------------------------------------------------------------

const Registered kDeathInsert{
    {.name = "hash.death_insert",
     .about = "insertion that dies, another of the same key, sweep",
     .lay_out = [](Setup& setup) {
         lay_out(setup, {.map = kTwo,
                         .first = {},
                         .threads = {{{Do::update, kA, 1}}, {{Do::update, kA, 2}}},
                         .first_dies = true});
     }}};

const Registered kDeathReplace{{.name = "hash.death_replace",
                                .about = "replacement that dies, deletion, sweep",
                                .lay_out = [](Setup& setup) {
                                    lay_out(setup,
                                            {.map = kTwo,
                                             .first = {{Do::update, kA, 1}},
                                             .threads = {{{Do::update, kA, 2}}, {{Do::remove, kA}}},
                                             .first_dies = true});
                                }}};

const Registered kDeathRemove{{.name = "hash.death_remove",
                               .about = "deletion from a full map that dies, insertion, sweep",
                               .lay_out = [](Setup& setup) {
                                   lay_out(setup,
                                           {.map = kOne,
                                            .first = {{Do::update, kA, 1}},
                                            .threads = {{{Do::remove, kA}}, {{Do::update, kB, 2}}},
                                            .first_dies = true});
                               }}};

const Registered kDeathNmi{{.name = "hash.death_nmi",
                            .about = "insertion with 1 nmi that deletes, which dies, sweep",
                            .lay_out = [](Setup& setup) {
                                lay_out(setup, {.map = kTwo,
                                                .first = {{Do::update, kB, 1}},
                                                .threads = {{{Do::update, kA, 2}}},
                                                .nmi = {{Do::remove, kB}},
                                                .first_dies = true});
                            }}};

const Registered kDeathSweep{
    {.name = "hash.death_sweep",
     .about = "replacement that dies, sweep beside a deletion",
     .lay_out =
         [](Setup& setup) {
             lay_out(setup, {.map = kTwo,
                             .first = {{Do::update, kA, 1}},
                             .threads = {{{Do::update, kA, 2}}, {{Do::remove, kA}}},
                             .first_dies = true,
                             .worker_rounds = 1});
         },
     .large = true}};

const Registered kPasser{
    {.name = "hash.passer_on_full",
     .about = "full map: a deletion, then an insertion, beside one that passes the deleted element",
     .lay_out = [](Setup& setup) {
         lay_out(setup, {.map = kOne,
                         .first = {{Do::update, kA, 1}},
                         .threads = {{{Do::remove, kA}, {Do::update, kB, 2}}, {{Do::remove, kC}}}});
     }}};

}  // namespace

}  // namespace explore
