/**
 * Attention, o = softmax(scale·q·kᵀ + mask)·v, with the log-sum-exp of every score row for the backward.
 * After Dao et al., "FlashAttention" (arXiv:2205.14135): block by block of keys, each query keeps its largest score and
 * the sum so far, and what it has summed is scaled down where the largest score grows.
 *
 * An item is a block of at most 64 queries of one head. Items of one head that a thread takes in a row share k and v,
 * which it has copied to scratch once. A block's scores stay in the second-level cache; a causal block computes only
 * the keys its last query may see. A query's arithmetic depends on its block alone, and so on no split of the items.
 * A query that is masked everywhere gives 0, and its log-sum-exp is +∞, which makes its gradient 0 as well.
 */
import { advance, type Code, f32, f32x4, i32, type Local, loopRange, loopWhile, minimum, set, settled, v128, when } from '../core/assembler.ts'
import type { AttentionDescriptor } from '../../ir/descriptor.ts'
import { log } from '../core/approximations.ts'
import { Arguments, begin, end, Nest } from '../core/arguments.ts'
import type { WasmKernel, WasmTarget } from '../core/kernel.ts'
import { Lanes, Uniform } from '../core/lanes.ts'
import { copyElements, copyRows, packPanels, packTransposed, zero } from './scratchPanels.ts'
import { multiply, panelWidth, rowsBeyond } from './scratchProduct.ts'
import { blocksOf, Heads, maskScores, pad, rowPitch } from './scores.ts'
import { ScratchAreas } from '../core/scratch.ts'


/** Inputs q, k, v, (mask), scale (one f32); outputs o, lse [...batch, queries]. */
export function attentionKernel(options: AttentionDescriptor, target: WasmTarget): WasmKernel {
  const { queries, keys, dim, valueDim, causal } = options
  const heads = options.batch.reduce((a, b) => a * b, 1)
  const blocks = blocksOf(options)
  const perHead = Math.ceil(queries / blocks.queries)
  const args = new Arguments()
  const masks = options.mask === undefined ? 0 : 1
  const [q, k, v, out] = [new Heads(args, 0, options.q), new Heads(args, 1, options.k), new Heads(args, 2, options.v), new Heads(args, 4 + masks, options.out)]
  const mask = options.mask === undefined ? undefined : new Heads(args, 3, options.mask)
  const [scaleAddress, lse] = [args.buffer(3 + masks), args.buffer(5 + masks)]
  const operands = [q, k, v, out, ...(mask === undefined ? [] : [mask])]
  const nest = new Nest(args, options.batch, operands.map((o) => o.batchStrides))
  const depth = pad(Math.max(dim, 1), 4)
  const sizes = { queries: args.number(queries), keys: args.number(keys), dim: args.number(dim), depth: args.number(depth), valueDim: args.number(valueDim), values: args.number(pad(valueDim, 8)) }
  const block = { queries: args.number(blocks.queries), keys: args.number(blocks.keys), perHead: args.number(perHead) }
  const pitch = { k: args.number(rowPitch(depth)), scores: args.number(blocks.pitch), out: args.number(rowPitch(pad(valueDim, 8))) }
  const areas = new ScratchAreas(args)
  const kBytes = (keys + rowsBeyond) * rowPitch(depth)
  const queryBytes = 4 * blocks.queries * depth
  const kRows = areas.area(kBytes)
  const vPanels = areas.area(4 * pad(valueDim, panelWidth) * keys)
  const queryPanels = areas.area(queryBytes)
  const scores = areas.area(blocks.bytes)
  const outRows = areas.area((blocks.queries + rowsBeyond) * rowPitch(pad(valueDim, 8)))
  const [tops, sums, factors] = [areas.area(4 * blocks.queries), areas.area(4 * blocks.queries), areas.area(4 * blocks.queries)]
  // Padding up to `depth` stays zero.
  const cleared = { k: args.number(depth === dim ? 0 : kBytes), queries: args.number(depth === dim ? 0 : queryBytes) }
  return {
    key: `attention ${operands.map((o) => (o.contiguous ? 'c' : 's')).join('')} ${nest.key}${causal ? ' causal' : ''}${target.relaxed ? ' relaxed' : ''}${target.wide === true ? ' wide' : ''}`,
    args: args.list,
    items: queries === 0 ? 0 : heads * perHead,
    scratchBytes: areas.bytes,
    flops: heads * queries * keys * (2 * dim + 2 * valueDim + 25) * (causal ? 0.5 : 1),
    bytes: 4 * heads * (queries * (dim + valueDim + 1) + keys * (dim + valueDim)),
    build() {
      const f = args.open()
      const lanes = new Lanes(f, target.relaxed)
      const wide = target.wide === true
      const i = (): Local => f.local('i32')
      const [item, head, copied, first, count, key, limit, keyCount] = [i(), i(), i(), i(), i(), i(), i(), i()]
      const [row, column, columns, at, from, to, left] = [i(), i(), i(), i(), i(), i(), i()]
      const [qAt, kAt, vAt, outAt, maskAt] = [i(), i(), i(), i(), i()]
      const addresses = [qAt, kAt, vAt, outAt, maskAt].slice(0, operands.length)
      const scale = new Uniform(f)
      /** Four of the queries' numbers in `area`, from query `column` of the block. */
      const place = (area: Local): Code => i32.add(area, i32.shl(column, 2))
      const read = (area: Local, offset: number): Code => v128.load(place(area), offset)
      const write = (area: Local, value: Code, offset: number): Code => v128.store(place(area), value, offset)

      const copyKeys = [
        nest.place(f, head, addresses, operands.map((o) => o.address)),
        copyRows(f, lanes, k.matrix(kAt, i32.const(0), sizes.keys, sizes.dim), (r) => i32.add(kRows, i32.mul(r, pitch.k))),
        packPanels(f, lanes, v.matrix(vAt, i32.const(0), sizes.keys, sizes.valueDim), vPanels, sizes.keys),
        set(copied, head),
      ]
      const enter = [
        zero(f, outRows, i32.mul(count, pitch.out)),
        zero(f, sums, i32.shl(block.queries, 2)),
        loopRange(column, 0, block.queries, 4, write(tops, v128.splatF32(-Infinity), 0)),
        packTransposed(f, lanes, q.matrix(qAt, first, count, sizes.dim, scale), queryPanels, sizes.depth),
      ]
      /** Scores of `4·vectors` queries become weights; the queries' largest scores, sums and factors are brought up to date. */
      const weigh = (vectors: number): Code => {
        const [topsAt, sumsAt, factorsAt] = [i(), i(), i()]
        const lane = Array.from({ length: vectors }, (_, u) => ({
          offset: 16 * u, top: f.local('v128'), sum: f.local('v128'), before: lanes.temporary(), factor: lanes.temporary(), weight: lanes.temporary(),
        }))
        const overKeys = (body: Code): Code => [
          set(at, i32.add(scores, i32.shl(column, 2))), set(left, keyCount),
          loopWhile(left, [body, advance(at, pitch.scores), set(left, i32.sub(left, 1)), lanes.clear]),
        ]
        return [
          set(topsAt, place(tops)), set(sumsAt, place(sums)), set(factorsAt, place(factors)),
          lane.map(({ top, offset }) => set(top, v128.load(topsAt, offset))),
          // pmax passes NaN over; it shows in the sum.
          overKeys(lane.map(({ top, offset }) => set(top, f32x4.pmax(top, v128.load(at, offset))))),
          lane.map(({ before, offset }) => set(before, v128.load(topsAt, offset))),
          lane.map(({ sum, offset }) => set(sum, v128.load(sumsAt, offset))),
          lane.map(({ top, offset }) => v128.store(topsAt, settled(top), offset)),
          // Nothing may be subtracted from itself where all scores are −∞.
          lane.map(({ top }) => set(top, v128.andnot(top, f32x4.eq(top, lanes.f32(-Infinity))))),
          lane.map(({ factor, before, top }) => set(factor, lanes.exp(f32x4.sub(before, top)))),
          lane.map(({ sum, factor }) => set(sum, f32x4.mul(factor, sum))),
          lane.map(({ factor, offset }) => v128.store(factorsAt, factor, offset)),
          lanes.clear,
          overKeys([
            lane.map(({ weight, top, offset }) => set(weight, f32x4.sub(v128.load(at, offset), top))),
            lane.map(({ weight }) => set(weight, lanes.exp(weight))),
            lane.map(({ sum, weight }) => set(sum, f32x4.add(sum, weight))),
            lane.map(({ weight, offset }) => v128.store(at, weight, offset)),
          ]),
          lane.map(({ sum, offset }) => v128.store(sumsAt, settled(sum), offset)),
        ]
      }
      const factorOf = new Uniform(f)
      const scaled = lanes.temporaryList(2)
      const rescale = loopRange(row, 0, count, 1, [
        set(at, i32.add(outRows, i32.mul(row, pitch.out))),
        factorOf.set(f32.load(i32.add(factors, i32.shl(row, 2)))),
        loopRange(column, 0, sizes.values, 8, [
          scaled.map((x, u) => set(x, f32x4.mul(v128.load(at, 16 * u), factorOf.of(2)))),
          scaled.map((x, u) => v128.store(at, x, 16 * u)),
          advance(at, 32), lanes.clear,
        ]),
      ])
      const keyBlock = [
        set(keyCount, minimum(block.keys, i32.sub(limit, key))),
        multiply(f, lanes, { adjacent: 'terms', add: false, wide }, {
          a: i32.add(kRows, i32.mul(key, pitch.k)), aStep: pitch.k, b: queryPanels, bDepth: sizes.depth,
          c: scores, cRow: pitch.scores, rows: keyCount, columns, depth: sizes.depth,
        }),
        maskScores(f, { scores, pitch: pitch.scores, query: first, queries: count, key, keys: keyCount }, causal, mask && { heads: mask, address: maskAt }),
        loopRange(column, 0, columns, wide ? 16 : 8, wide ? when(i32.gt(i32.sub(columns, column), 8), weigh(4), weigh(2)) : weigh(2)),
        when(key, rescale),
        multiply(f, lanes, { adjacent: 'rows', add: true, wide }, {
          a: scores, aStep: pitch.scores, b: i32.add(vPanels, i32.shl(key, 6)), bDepth: sizes.keys,
          c: outRows, cRow: pitch.out, rows: count, columns: sizes.values, depth: keyCount,
        }),
        advance(key, keyCount),
      ]
      /** The sums become their inverses, the largest scores log-sum-exps. */
      const statistics = lanes.within(1, () => loopRange(column, 0, columns, 4, lanes.block(() => {
        const [total, top] = [lanes.keep(read(sums, 0)), lanes.keep(read(tops, 0))]
        const masked = lanes.keep(f32x4.eq(total, lanes.f32(0)))
        lanes.emit(
          write(tops, v128.select(lanes.f32(Infinity), f32x4.add(top, log(lanes, total)), masked), 0),
          write(sums, v128.andnot(f32x4.div(lanes.f32(1), total), masked), 0),
          lanes.clear,
        )
      })))
      const leave = [
        statistics,
        set(to, i32.add(lse, i32.shl(i32.add(i32.mul(head, sizes.queries), first), 2))),
        set(from, tops), set(left, count),
        copyElements(lanes, { from, to, count: left }),
        loopRange(row, 0, count, 1, [
          factorOf.set(f32.load(i32.add(sums, i32.shl(row, 2)))),
          set(from, i32.add(outRows, i32.mul(row, pitch.out))),
          set(to, out.rowAt(outAt, i32.add(first, row))), set(left, sizes.valueDim),
          copyElements(lanes, { from, to, count: left, toStep: out.contiguous ? undefined : out.element, factor: factorOf }),
        ]),
      ]
      const code = [
        areas.prologue(),
        scale.set(f32.load(scaleAddress)),
        zero(f, kRows, cleared.k), zero(f, queryPanels, cleared.queries),
        set(copied, -1),
        loopRange(item, begin, end, 1, [
          set(head, i32.divu(item, block.perHead)),
          when(i32.ne(head, copied), copyKeys),
          set(first, i32.mul(i32.remu(item, block.perHead), block.queries)),
          set(count, minimum(block.queries, i32.sub(sizes.queries, first))),
          set(columns, i32.and(i32.add(count, 7), -8)),
          set(limit, causal ? minimum(sizes.keys, i32.add(first, count)) : sizes.keys),
          enter,
          set(key, 0),
          loopWhile(i32.lt(key, limit), keyBlock),
          leave,
        ]),
      ]
      f.emit(lanes.setup, code)
      return f
    },
  }
}
