/* Opening: read, judge what does not hold, mend, and destroy what is fenced before anything can be read with it (K2).
 *
 * Keys are read before fences: of a vault in use, a key that is being destroyed meanwhile is then either read as it was and
 * found fenced, or read as destroyed, or does not hold and is fenced.
 */

#include <stdio.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "vault/internal.h"

/* ---- reading ---- */

struct reading {
    struct vault *vault;
    struct broken_list *broken;
};

static int take_broken(struct reading *reading, bool in_fences, const struct slot_seen *seen)
{
    reading->vault->slots_broken++;
    return broken_add(reading->broken, in_fences, seen);
}

static int take_key_slot(void *user, const struct slot_seen *seen)
{
    struct reading *reading = user;
    struct vault *vault = reading->vault;
    const struct slot *slot = &seen->slot;
    if (seen->answer == SLOT_E_NEWER)
        return VAULT_E_NEWER;
    if (seen->place == 0) {
        vault->has_head = seen->answer == 0 && slot->kind == SLOT_VAULT;
        memcpy(vault->secret, slot->secret, sizeof(slot->secret));
        vault->head_broken = !vault->has_head; /* it was put in place whole, or not at all */
        return 0;
    }
    if (seen->answer != 0 || (slot->kind != SLOT_KEY && slot->kind != SLOT_DESTROYED))
        return take_broken(reading, false, seen);
    if (id_is_zero(&slot->fingerprint))
        return 0; /* where a torn one was */
    return vault_add_key(vault, slot, seen->place, NULL);
}

static void note_done(struct vault *vault, const struct slot *slot)
{
    const uint64_t *index = hashmap_find(&vault->fence_of, id_hash(slot->fingerprint));
    if (!index || *index == 0 || vault->fences[*index - 1].done)
        return;
    vault->fences[*index - 1].done = true;
    vault->open_count--;
}

static int take_fence_slot(void *user, const struct slot_seen *seen)
{
    struct reading *reading = user;
    struct vault *vault = reading->vault;
    const struct slot *slot = &seen->slot;
    if (seen->answer == SLOT_E_NEWER)
        return VAULT_E_NEWER;
    if (seen->answer != 0 || (slot->kind != SLOT_FENCE && slot->kind != SLOT_DONE))
        return take_broken(reading, true, seen);
    if (slot->kind == SLOT_DONE) {
        note_done(vault, slot);
        return 0;
    }
    vault->fence_place = seen->place + 1;
    return vault_add_fence(vault, &(struct vault_fence){.fingerprint = slot->fingerprint,
                                                        .subject = slot->subject,
                                                        .position = slot->position,
                                                        .time_us = slot->time_us});
}

int vault_read(struct vault *vault, const char *folder, struct broken_list *broken)
{
    struct reading reading = {.vault = vault, .broken = broken};
    int r = snprintf(vault->folder, sizeof(vault->folder), "%s", folder) < (int)sizeof(vault->folder)
                ? 0
                : -ENAMETOOLONG;
    if (r == 0)
        r = os_path(vault->keys_file.path, folder, "keys");
    if (r == 0)
        r = os_path(vault->fences_file.path, folder, "fences");
    if (r == 0)
        r = slot_file_read(vault->ops, vault->keys_file.path, &reading, take_key_slot, &vault->keys_file.count);
    if (r == 0)
        r = slot_file_read(vault->ops, vault->fences_file.path, &reading, take_fence_slot,
                           &vault->fences_file.count);
    return r;
}

/* ---- for writing ---- */

/* The vault's own slot: a file that is not there was never begun. */
static int make_head(struct vault *vault)
{
    struct slot head = {.kind = SLOT_VAULT};
    uint8_t data[SLOT_SIZE];
    int r = vault->random->fill(vault->random, vault->secret, sizeof(vault->secret));
    if (r < 0)
        return r;
    memcpy(head.secret, vault->secret, sizeof(head.secret));
    slot_write(&head, data);
    vault->keys_file.count = 1;
    return os_file_replace(vault->ops, vault->folder, "keys", bytes_make(data, sizeof(data)));
}

static int open_files(struct vault *vault)
{
    int r = 0;
    if (!vault->has_head)
        r = make_head(vault);
    if (r == 0)
        r = slot_file_open(vault->ops, &vault->keys_file, vault->keys_file.count);
    if (r == 0)
        r = slot_file_cut(vault->ops, &vault->keys_file);
    if (r == 0)
        r = slot_file_open(vault->ops, &vault->fences_file, vault->fences_file.count);
    if (r == 0)
        r = slot_file_cut(vault->ops, &vault->fences_file);
    return r == 0 ? vault->ops->sync_folder(vault->ops, vault->folder) : r;
}

/* A fence that is known is written again; what only notes what was done can be done again. */
static int mend_fence(struct vault *vault, const struct broken *broken)
{
    static const struct slot nothing = {.kind = SLOT_DONE};
    const struct vault_fence *known = &broken->fence;
    const struct slot fence = {.kind = SLOT_FENCE,
                               .position = known->position,
                               .time_us = known->time_us,
                               .fingerprint = known->fingerprint,
                               .subject = known->subject};
    bool is_fence = broken->verdict == VERDICT_FENCE;
    if (!broken->cut)
        return slot_file_overwrite(vault->ops, &vault->fences_file, broken->place, is_fence ? &fence : &nothing);
    int r = is_fence ? slot_file_push(&vault->fences_file, &fence) : 0;
    return r == 0 ? slot_file_sync(vault->ops, &vault->fences_file) : r;
}

/* Every slot holds again: one that cannot be known, or need not be, becomes one of nothing. */
static int mend_slot(struct vault *vault, const struct broken *broken)
{
    static const struct slot nothing = {.kind = SLOT_DESTROYED};
    const struct vault_fence *known = &broken->fence;
    if (broken->in_fences)
        return mend_fence(vault, broken);
    if (broken->cut)
        return 0;
    if (broken->verdict == VERDICT_DESTROYED)
        return vault_destroy_slot(vault, broken->place, known->fingerprint, known->subject);
    return slot_file_overwrite(vault->ops, &vault->keys_file, broken->place, &nothing);
}

static void tell(const struct vault *vault, const struct vault_options *options, const struct broken *broken)
{
    char sentence[512];
    if (!options->on_notice)
        return;
    (void)snprintf(sentence, sizeof(sentence), "%.200s/%s at byte %llu: %s; %s", vault->folder,
                   broken->in_fences ? "fences" : "keys", (unsigned long long)(broken->place * SLOT_SIZE),
                   verdict_text(broken->verdict),
                   broken->verdict == VERDICT_DAMAGED                                           ? "it is given up"
                   : broken->verdict == VERDICT_DESTROYED || broken->verdict == VERDICT_FENCE ? "it was written again"
                                                                                                : "it was taken out");
    options->on_notice(options->user, sentence);
}

static int mend(struct vault *vault, const struct vault_options *options, const struct broken_list *list)
{
    int r = 0;
    for (size_t i = 0; r == 0 && i < list->count; i++) {
        const struct broken *broken = &list->items[i];
        r = vault->read_only ? 0 : mend_slot(vault, broken);
        if (r == 0 && broken->verdict == VERDICT_FENCE)
            r = vault_add_fence(vault, &broken->fence);
        if (r == 0 && !vault->read_only)
            tell(vault, options, broken);
    }
    return r;
}

/* Finish what a crash, or an older copy of the keys, left (K2). An open fence may have been seen in the page cache only,
 * and so may the overwriting: it is done again until the fence is. */
int vault_destroy_fenced(struct vault *vault)
{
    int r = 0;
    for (size_t i = 0; r == 0 && i < vault->key_count; i++) {
        struct key *key = &vault->keys[i];
        const uint64_t *fence = hashmap_find(&vault->fence_of, id_hash(key->fingerprint));
        if (!fence || *fence == 0 || (key->destroyed && vault->fences[*fence - 1].done))
            continue;
        vault->living_count -= !key->destroyed;
        explicit_bzero(key->secret, sizeof(key->secret));
        key->destroyed = true;
        if (!vault->read_only)
            r = vault_destroy_slot(vault, key->place, key->fingerprint, key->subject);
        key->wiped = r == 0;
    }
    return r;
}

/* ---- opening ---- */

int vault_explain(int r, const char *folder, char *ret_error)
{
    if (r == 0 || !ret_error || ret_error[0] != '\0')
        return r;
    if (r == VAULT_E_NEWER)
        (void)snprintf(ret_error, 256, "%.160s was written by a newer daybook", folder);
    else if (r == VAULT_E_DAMAGED)
        (void)snprintf(ret_error, 256,
                       "%.120s/keys is damaged at byte 0, its first slot: take that file from a backup", folder);
    else
        (void)snprintf(ret_error, 256, "the keys in %.160s cannot be opened: %s", folder, strerrordesc_np(-r));
    return r;
}

static int refuse(const struct vault *vault, const struct broken *broken, uint64_t missing, char *ret_error)
{
    char concerned[64] = "";
    if (!broken->in_fences)
        (void)snprintf(concerned, sizeof(concerned), ", and a key is missing (event %llu)",
                       (unsigned long long)missing);
    if (ret_error)
        (void)snprintf(ret_error, 256, "%.100s/%s is damaged at byte %llu: %s%s: take that file from a backup%s",
                       vault->folder, broken->in_fences ? "fences" : "keys",
                       (unsigned long long)(broken->place * SLOT_SIZE), verdict_text(broken->verdict), concerned,
                       vault->read_only ? "" : ", or give it up (--keys-lost)");
    return VAULT_E_DAMAGED;
}

/* Nothing is written before all of it is judged. */
static int judge(const struct vault *vault, const struct vault_options *options, bool fences_only,
                 struct broken_list *list, char *ret_error)
{
    _cleanup_(vault_evidence_deinit) struct vault_evidence evidence = {0};
    uint64_t missing;
    int r = list->count > 0 && options->witness.ask ? options->witness.ask(options->witness.user, &evidence) : 0;
    if (r < 0)
        return r;
    vault_judge(vault, &evidence, list, &missing);
    for (size_t i = 0; !options->give_up && i < list->count; i++)
        if (list->items[i].verdict == VERDICT_DAMAGED && (list->items[i].in_fences || !fences_only))
            return refuse(vault, &list->items[i], missing, ret_error);
    return 0;
}

static int open_vault(struct vault *vault, const char *folder, const struct vault_options *options,
                      bool fences_only, char *ret_error)
{
    _cleanup_(broken_deinit) struct broken_list broken = {0};
    int r = vault->read_only ? 0 : vault->ops->make_folder(vault->ops, folder);
    if (r == 0)
        r = vault_read(vault, folder, &broken);
    if (r == 0 && vault->head_broken && !fences_only)
        r = VAULT_E_DAMAGED;
    if (r == 0)
        r = judge(vault, options, fences_only, &broken, ret_error);
    if (r == 0 && !vault->read_only)
        r = open_files(vault);
    if (r == 0)
        r = mend(vault, options, &broken);
    return r == 0 ? vault_destroy_fenced(vault) : r;
}

int vault_open_for(const char *folder, const struct vault_options *options, bool fences_only,
                   struct vault **ret_vault, char *ret_error)
{
    static const struct vault_options defaults = {0};
    struct vault *vault;
    if (ret_error)
        ret_error[0] = '\0';
    if (!options)
        options = &defaults;
    int r = vault_new(options, &vault);
    if (r < 0)
        return r;
    r = open_vault(vault, folder, options, fences_only, ret_error);
    if (r == 0) {
        *ret_vault = vault;
        return 0;
    }
    vault_close(vault);
    return vault_explain(r, folder, ret_error);
}

int vault_open(const char *folder, const struct vault_options *options, struct vault **ret_vault,
               char *ret_error)
{
    return vault_open_for(folder, options, false, ret_vault, ret_error);
}

/* ---- checking ---- */

static void report(const struct broken *broken, uint64_t missing,
                   void (*on_damage)(void *user, const struct vault_damage *damage), void *user)
{
    const struct vault_damage damage = {.file = broken->in_fences ? "fences" : "keys",
                                        .offset = broken->place * SLOT_SIZE,
                                        .position = broken->in_fences || broken->verdict != VERDICT_DAMAGED ? 0 : missing,
                                        .torn = broken->verdict == VERDICT_TORN,
                                        .what = verdict_text(broken->verdict)};
    on_damage(user, &damage);
}

static int check(struct vault *vault, const char *folder, const struct vault_evidence *evidence,
                 void (*on_damage)(void *user, const struct vault_damage *damage), void *user)
{
    _cleanup_(broken_deinit) struct broken_list broken = {0};
    uint64_t missing;
    bool told = false;
    int r = vault_read(vault, folder, &broken);
    if (r != 0)
        return r;
    if (vault->head_broken)
        on_damage(user, &(struct vault_damage){.file = "keys", .what = "the vault's own slot does not hold"});
    vault_judge(vault, evidence, &broken, &missing);
    for (size_t i = 0; i < broken.count; i++) {
        report(&broken.items[i], missing, on_damage, user);
        told |= !broken.items[i].in_fences && broken.items[i].verdict == VERDICT_DAMAGED;
    }
    if (missing > 0 && !told)
        on_damage(user, &(struct vault_damage){.file = "keys",
                                               .offset = vault->keys_file.count * SLOT_SIZE,
                                               .position = missing,
                                               .what = "a key is missing that sealed an event"});
    return 0;
}

int vault_check(const char *folder, const struct os_file_ops *file, const struct vault_evidence *evidence,
                void (*on_damage)(void *user, const struct vault_damage *damage), void *user, char *ret_error)
{
    static const struct vault_evidence none;
    const struct vault_options options = {.file = file, .read_only = true};
    struct vault *vault;
    if (ret_error)
        ret_error[0] = '\0';
    int r = vault_new(&options, &vault);
    if (r < 0)
        return r;
    r = check(vault, folder, evidence ? evidence : &none, on_damage, user);
    vault_close(vault);
    return vault_explain(r, folder, ret_error);
}
