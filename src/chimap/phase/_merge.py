"""Merging regions across their interfaces, the clearest first."""

from __future__ import annotations

import math

import numpy as np

from chimap.numerics.threads import jit


@jit("f8(f8, f8)")
def clarity(weight, gap):
    """What the second-best shift across an interface costs more than the best, over 4 pi^2."""
    k = gap / weight
    return weight * (1 - 2 * abs(k - math.floor(k + 0.5)))


@jit("void(i8, f8[::1], i4[::1], i4[::1], i8)")
def sift(at, key, heap, place, size):
    """Move the entry at position `at` of a heap (largest key first, then lowest number) to where it belongs."""
    e = heap[at]
    while at > 0:
        up = (at - 1) >> 1
        o = heap[up]
        if key[o] > key[e] or (key[o] == key[e] and o < e):
            break
        heap[at] = o
        place[o] = at
        at = up
    while True:
        down = 2 * at + 1
        if down >= size:
            break
        o = heap[down]
        if down + 1 < size:
            p = heap[down + 1]
            if key[p] > key[o] or (key[p] == key[o] and p < o):
                down += 1
                o = p
        if key[e] > key[o] or (key[e] == key[o] and e < o):
            break
        heap[at] = o
        place[o] = at
        at = down
    heap[at] = e
    place[e] = at


@jit("void(i8, f8[::1], i4[::1], i4[::1], i8[::1])")
def drop(e, key, heap, place, size):
    """Take entry `e` out of the heap of `size[0]` entries; its place becomes -1."""
    at = place[e]
    size[0] -= 1
    last = heap[size[0]]
    place[e] = -1
    if last != e:
        heap[at] = last
        place[last] = at
        sift(at, key, heap, place, size[0])


@jit("i8(i8, i8, i8)")
def home(slots, a, b):
    """Where the search for the pair of regions (a, b), in either order, starts in a table of 2^n slots."""
    mixed = min(a, b) * 0x9E3779B97F4A7C1 + max(a, b) * 0x2545F4914F6CDD1D
    return (mixed ^ (mixed >> 29)) & (slots - 1)


@jit("i8(i4[::1], i4[::1], i8, i8)")
def seek(table, end, a, b):
    """Slot of the interface between regions a and b in an open-addressed table, or the free slot for it."""
    slot = home(table.size, a, b)
    while table[slot] >= 0:
        x = end[2 * table[slot]]
        y = end[2 * table[slot] + 1]
        if (x == a and y == b) or (x == b and y == a):
            break
        slot = (slot + 1) & (table.size - 1)
    return slot


@jit("void(i4[::1], i4[::1], i8)")
def erase(table, end, slot):
    """Free a slot, and move back the entries behind it that would no longer be found."""
    last = table.size - 1
    at = slot
    table[slot] = -1
    while True:
        at = (at + 1) & last
        e = table[at]
        if e < 0:
            return
        start = home(table.size, end[2 * e], end[2 * e + 1])
        # It may move if its search does not start behind the free slot.
        if ((at - start) & last) >= ((at - slot) & last):
            table[slot] = e
            table[at] = -1
            slot = at


@jit("i8(i4[::1], i4[::1], f8[::1], f8[::1], i4[::1], i4[::1])")
def merge(first, second, weight, gap, shift, group):
    """Merge regions until none touch; returns how many groups remain.

    Interface e lies between the regions `first[e]` and `second[e]` (each pair once), with the sum `weight[e]` of
    its voxel pairs' weights and `gap[e]` of their weighted phase differences first - second in turns. Fills `shift`, the
    turns to add to each region, and `group`, the number (1, 2, ...) of the group that it ends in. The
    interfaces are used up.
    """
    edges = first.size
    count = shift.size
    # Half-edge 2 e + side hangs in the list of the region `end` at its side.
    end = np.empty(2 * edges, np.int32)
    link = np.empty(2 * edges, np.int32)
    head = np.full(count, -1, np.int32)
    degree = np.zeros(count, np.int32)
    key = np.empty(edges, np.float64)
    heap = np.empty(edges, np.int32)
    place = np.empty(edges, np.int32)
    slots = 16
    while slots < 3 * edges:
        slots *= 2
    table = np.full(slots, -1, np.int32)
    size = np.zeros(1, np.int64)
    for e in range(edges):
        end[2 * e] = first[e]
        end[2 * e + 1] = second[e]
        table[seek(table, end, first[e], second[e])] = e
        for side in range(2):
            r = end[2 * e + side]
            link[2 * e + side] = head[r]
            head[r] = 2 * e + side
            degree[r] += 1
        key[e] = clarity(weight[e], gap[e])
        heap[e] = e
        size[0] += 1
        sift(e, key, heap, place, size[0])
    gone_of = np.empty(count, np.int32)
    kept_of = np.empty(count, np.int32)
    merges = 0
    while size[0] > 0:
        e = heap[0]
        turns = math.floor(gap[e] / weight[e] + 0.5)
        kept = end[2 * e]
        gone = end[2 * e + 1]
        drop(e, key, heap, place, size)
        erase(table, end, seek(table, end, kept, gone))
        # The region with fewer neighbours goes: each interface then moves only a few times.
        if degree[kept] < degree[gone]:
            kept, gone = gone, kept
            turns = -turns
        gone_of[merges] = gone
        kept_of[merges] = kept
        merges += 1
        shift[gone] = turns
        degree[kept] -= 1
        h = head[gone]
        while h >= 0:
            after = link[h]
            e = h >> 1
            side = h & 1
            if place[e] >= 0:
                gap[e] += (1 - 2 * side) * turns * weight[e]
                other = end[h ^ 1]
                erase(table, end, seek(table, end, gone, other))
                slot = seek(table, end, kept, other)
                same = table[slot]
                if same < 0:
                    end[h] = kept
                    table[slot] = e
                    link[h] = head[kept]
                    head[kept] = h
                    degree[kept] += 1
                else:
                    weight[same] += weight[e]
                    gap[same] += gap[e] if end[2 * same + side] == kept else -gap[e]
                    key[same] = clarity(weight[same], gap[same])
                    sift(place[same], key, heap, place, size[0])
                    drop(e, key, heap, place, size)
                    degree[other] -= 1
            h = after
    group[:] = 0
    for n in range(merges):
        group[gone_of[n]] = -1
    groups = 0
    for r in range(count):
        if group[r] == 0:
            groups += 1
            group[r] = groups
            shift[r] = 0
    # Backwards, so that what a region was merged into already has its final shift.
    for n in range(merges - 1, -1, -1):
        shift[gone_of[n]] += shift[kept_of[n]]
        group[gone_of[n]] = group[kept_of[n]]
    return groups
