/**
 * Gradient of attention. With scores s = scale·q·kᵀ + mask, the probabilities are computed again as
 * p = exp(s − lse); then dv = pᵀ·do, dp = do·vᵀ, ds = p∘(dp − D) with D = rowsum(do∘o), and
 * dq = scale·ds·k, dk = scale·dsᵀ·q.
 *
 * An item is a head: block by block of keys, and for each block by block of queries, the probabilities and ds are made
 * in scratch memory (five products a block), dk and dv of the keys at hand grow there, and so does dq of the head.
 * Where there are few heads, an item is a part of one: dk and dv of some keys over all queries, then dq of some queries
 * over all keys. This computes scores and dp twice (seven products), but nothing is ever added up across items.
 */
import { advance, type Code, f32, f32x4, i32, type Local, loopRange, loopWhile, minimum, select, set, v128, when } from '../core/assembler.ts'
import type { AttentionGradDescriptor, Strided } from '../../ir/descriptor.ts'
import { Arguments, begin, end, Nest } from '../core/arguments.ts'
import type { WasmKernel, WasmTarget } from '../core/kernel.ts'
import { Lanes, sumLanes, Uniform } from '../core/lanes.ts'
import { copyElements, copyRows, packPanels, packTransposed, zero } from './scratchPanels.ts'
import { multiply, panelWidth, type ScratchProduct, rowsBeyond } from './scratchProduct.ts'
import { blockOf, blocksOf, Heads, maskScores, pad, rowPitch } from './scores.ts'
import { ScratchAreas } from '../core/scratch.ts'

/** Heads from which on each is one item. */
const enoughHeads = 4
const mostParts = 8
const positionsPerPart = 128

/** Into how many items a head is cut: one where there are many heads, or few positions. */
function partsOf(heads: number, positions: number): number {
  return heads >= enoughHeads ? 1 : Math.max(1, Math.min(mostParts, Math.ceil(positions / positionsPerPart)))
}

/** Inputs q, k, v, (mask), scale (one f32), o, lse [...batch, queries], do; outputs dq, dk, dv. */
export function attentionGradKernel(options: AttentionGradDescriptor, target: WasmTarget): WasmKernel {
  const { queries, keys, dim, valueDim, causal } = options
  const heads = options.batch.reduce((a, b) => a * b, 1)
  const parts = partsOf(heads, Math.max(queries, keys))
  const blocks = blocksOf(options)
  // Of keys and queries in a part.
  const part = { keys: Math.ceil(keys / parts), queries: parts === 1 ? queries : blockOf(queries, Math.ceil(queries / parts), panelWidth) }
  const masks = options.mask === undefined ? 0 : 1
  const args = new Arguments()
  const operand = (buffer: number, strided: Strided): Heads => new Heads(args, buffer, strided)
  const [q, k, v, o] = [operand(0, options.q), operand(1, options.k), operand(2, options.v), operand(4 + masks, options.out)]
  const [dout, dq, dk, dv] = [operand(6 + masks, options.dout), operand(7 + masks, options.dq), operand(8 + masks, options.dk), operand(9 + masks, options.dv)]
  const mask = options.mask === undefined ? undefined : operand(3, options.mask)
  const [scaleAddress, lse] = [args.buffer(3 + masks), args.buffer(5 + masks)]
  const operands = [q, k, v, o, dout, dq, dk, dv, ...(mask === undefined ? [] : [mask])]
  const nest = new Nest(args, options.batch, operands.map((h) => h.batchStrides))

  // Terms of a row are padded to 4, columns to 8.
  const [depth, valueDepth, columnsOf] = [pad(Math.max(dim, 1), 4), pad(Math.max(valueDim, 1), 4), (n: number) => pad(n, 8)]
  const n = {
    queries: args.number(queries), keys: args.number(keys), dim: args.number(dim), depth: args.number(depth), columns: args.number(columnsOf(dim)),
    valueDim: args.number(valueDim), valueDepth: args.number(valueDepth), valueColumns: args.number(columnsOf(valueDim)),
    blockQueries: args.number(blocks.queries), blockKeys: args.number(blocks.keys), partQueries: args.number(part.queries), partKeys: args.number(part.keys), parts: args.number(parts),
  }
  const pitch = { k: args.number(rowPitch(depth)), v: args.number(rowPitch(valueDepth)), scores: args.number(blocks.pitch), dim: args.number(rowPitch(columnsOf(dim))), value: args.number(rowPitch(columnsOf(valueDim))) }
  const areas = new ScratchAreas(args)
  const rowsOf = (rows: number, floats: number): Local => areas.area((rows + rowsBeyond) * rowPitch(floats))
  const [kRows, vRows] = [rowsOf(blocks.keys, depth), rowsOf(blocks.keys, valueDepth)]
  const kPanels = areas.area(4 * pad(dim, panelWidth) * blocks.keys)
  const [qT, doT] = [areas.area(4 * blocks.queries * depth), areas.area(4 * blocks.queries * valueDepth)]
  const [qPanels, doPanels] = [areas.area(4 * pad(dim, panelWidth) * blocks.queries), areas.area(4 * pad(valueDim, panelWidth) * blocks.queries)]
  // Padding inside the operands stays zero: it meets other zeros and must be finite.
  const cleared = args.number(areas.bytes)
  const [p, ds] = [areas.area(blocks.bytes), areas.area(blocks.bytes)]
  const [dkRows, dvRows, dqRows] = [rowsOf(blocks.keys, columnsOf(dim)), rowsOf(blocks.keys, columnsOf(valueDim)), rowsOf(part.queries, columnsOf(dim))]
  const [lses, deltas] = [areas.area(4 * blocks.queries), areas.area(4 * blocks.queries)]
  const products = parts === 1 ? { dim: 3, value: 2 } : { dim: 4, value: 3 }
  return {
    key: `attentionGrad ${operands.map((h) => (h.contiguous ? 'c' : 's')).join('')} ${nest.key}${causal ? ' causal' : ''}${target.relaxed ? ' relaxed' : ''}${target.wide === true ? ' wide' : ''}`,
    args: args.list,
    items: heads * (queries + keys) * (dim + valueDim) === 0 ? 0 : heads * parts,
    scratchBytes: areas.bytes,
    flops: heads * queries * keys * (2 * products.dim * dim + 2 * products.value * valueDim + 30) * (causal ? 0.5 : 1),
    bytes: 4 * heads * (queries * (2 * dim + 2 * valueDim + 1) + 2 * keys * (dim + valueDim)),
    build() {
      const f = args.open()
      const lanes = new Lanes(f, target.relaxed)
      const wide = target.wide === true
      const i = (): Local => f.local('i32')
      const [item, head, pass, keyStart, keyStop, queryStart, queryStop] = [i(), i(), i(), i(), i(), i(), i()]
      const [key, keyCount, blockCount, query, count, columns] = [i(), i(), i(), i(), i(), i()]
      const [row, column, from, to, left] = [i(), i(), i(), i(), i()]
      const [qAt, kAt, vAt, oAt, doutAt, dqAt, dkAt, dvAt, maskAt] = [i(), i(), i(), i(), i(), i(), i(), i(), i()]
      const addresses = [qAt, kAt, vAt, oAt, doutAt, dqAt, dkAt, dvAt, maskAt].slice(0, operands.length)
      const scale = new Uniform(f)
      const rowAt = (base: Local, step: Local, index: Code): Code => i32.add(base, i32.mul(index, step))
      const floatAt = (base: Local, index: Code): Code => i32.add(base, i32.shl(index, 2))
      // The first pass makes dk and dv, the second dq; of a whole head one pass makes all.
      const whole = i32.eq(n.parts, 1)
      const [makesKeys, makesQueries] = [i32.or(i32.eqz(pass), whole), i32.or(pass, whole)]

      const packKeys = [
        copyRows(f, lanes, k.matrix(kAt, key, blockCount, n.dim), (r) => rowAt(kRows, pitch.k, r)),
        copyRows(f, lanes, v.matrix(vAt, key, blockCount, n.valueDim), (r) => rowAt(vRows, pitch.v, r)),
        when(makesQueries, packPanels(f, lanes, k.matrix(kAt, key, blockCount, n.dim), kPanels, n.blockKeys)),
        when(makesKeys, [zero(f, dkRows, i32.mul(blockCount, pitch.dim)), zero(f, dvRows, i32.mul(blockCount, pitch.value))]),
      ]
      const queryMatrix = q.matrix(qAt, query, count, n.dim, scale)
      const doutMatrix = dout.matrix(doutAt, query, count, n.valueDim)
      // D of a query, whose do and o are read in place.
      const [x, y] = [lanes.temporary(), lanes.temporary()]
      const [vectors, singles] = [f.local('v128'), f.local('v128')]
      const bothContiguous = o.contiguous && dout.contiguous
      const dot = (load: (address: Code) => Code, sum: Local, bytes: number): Code => [
        set(x, load(from)), set(y, load(to)), set(sum, f32x4.add(sum, f32x4.mul(x, y))),
        advance(from, bytes === 4 ? o.element : bytes), advance(to, bytes === 4 ? dout.element : bytes),
        set(left, i32.sub(left, bytes / 4)),
      ]
      const delta = [
        set(from, o.rowAt(oAt, i32.add(query, row))), set(to, dout.rowAt(doutAt, i32.add(query, row))), set(left, n.valueDim),
        set(vectors, 0), set(singles, 0),
        bothContiguous ? loopWhile(i32.ge(left, 4), dot(v128.load, vectors, 16)) : [],
        loopWhile(left, dot(v128.load32Zero, singles, 4)),
        f32.store(floatAt(deltas, row), f32.add(sumLanes(vectors), f32x4.extract(singles, 0))),
      ]
      const packQueries = [
        packTransposed(f, lanes, queryMatrix, qT, n.depth),
        packTransposed(f, lanes, doutMatrix, doT, n.valueDepth),
        when(makesKeys, [packPanels(f, lanes, queryMatrix, qPanels, n.blockQueries), packPanels(f, lanes, doutMatrix, doPanels, n.blockQueries)]),
        // What pads a block to 8 queries has probability 0.
        loopRange(row, count, columns, 1, [f32.store(floatAt(lses, row), Infinity), f32.store(floatAt(deltas, row), 0)]),
        set(from, floatAt(lse, i32.add(i32.mul(head, n.queries), query))), set(to, lses), set(left, count),
        copyElements(lanes, { from, to, count: left }),
        loopRange(row, 0, count, 1, delta),
      ]
      /** Scores become probabilities, and dp becomes ds, of `4·vectors` queries. */
      const differentiate = (vectors: number): Code => {
        const [pAt, dsAt, lseAt, deltaAt] = [i(), i(), i(), i()]
        const lane = Array.from({ length: vectors }, (_, u) => ({ offset: 16 * u, weight: lanes.temporary(), slope: lanes.temporary() }))
        return [
          set(pAt, floatAt(p, column)), set(dsAt, floatAt(ds, column)), set(lseAt, floatAt(lses, column)), set(deltaAt, floatAt(deltas, column)),
          set(left, keyCount),
          loopWhile(left, [
            lane.map(({ weight, offset }) => set(weight, f32x4.sub(v128.load(pAt, offset), v128.load(lseAt, offset)))),
            lane.map(({ slope, offset }) => set(slope, f32x4.sub(v128.load(dsAt, offset), v128.load(deltaAt, offset)))),
            lane.map(({ weight }) => set(weight, lanes.exp(weight))),
            lane.map(({ slope, weight }) => set(slope, f32x4.mul(slope, weight))),
            lane.map(({ weight, offset }) => v128.store(pAt, weight, offset)),
            lane.map(({ slope, offset }) => v128.store(dsAt, slope, offset)),
            advance(pAt, pitch.scores), advance(dsAt, pitch.scores), set(left, i32.sub(left, 1)),
            lanes.clear,
          ]),
        ]
      }
      const scoresOf = (a: Local, aStep: Local, b: Local, terms: Local, c: Local): ScratchProduct => ({ a, aStep, b, bDepth: terms, c, cRow: pitch.scores, rows: keyCount, columns, depth: terms })
      const grown = (a: Local, b: Local, c: Local, cRow: Local, width: Local): ScratchProduct => ({ a, aStep: pitch.scores, b, bDepth: n.blockQueries, c, cRow, rows: keyCount, columns: width, depth: columns })
      const queryBlock = [
        set(count, minimum(n.blockQueries, i32.sub(queryStop, query))),
        set(columns, i32.and(i32.add(count, 7), -8)),
        set(keyCount, causal ? minimum(blockCount, i32.sub(i32.add(query, count), key)) : blockCount),
        when(i32.ne(columns, count), zero(f, qT, i32.sub(p, qT))), // all four of the queries' areas
        packQueries,
        multiply(f, lanes, { adjacent: 'terms', add: false, wide }, scoresOf(kRows, pitch.k, qT, n.depth, p), scoresOf(vRows, pitch.v, doT, n.valueDepth, ds)),
        maskScores(f, { scores: p, pitch: pitch.scores, query, queries: count, key, keys: keyCount }, causal, mask && { heads: mask, address: maskAt }),
        loopRange(column, 0, columns, wide ? 16 : 8, wide ? when(i32.gt(i32.sub(columns, column), 8), differentiate(4), differentiate(2)) : differentiate(2)),
        // Where not all keys of the block are seen, a tile's rows beyond the last must add nothing to theirs.
        causal ? [p, ds].map((area) => zero(f, rowAt(area, pitch.scores, keyCount), i32.mul(pitch.scores, rowsBeyond))) : [],
        when(makesKeys, multiply(f, lanes, { adjacent: 'terms', add: true, wide }, grown(p, doPanels, dvRows, pitch.value, n.valueColumns), grown(ds, qPanels, dkRows, pitch.dim, n.columns))),
        when(makesQueries, multiply(f, lanes, { adjacent: 'rows', add: true, wide }, {
          a: ds, aStep: pitch.scores, b: kPanels, bDepth: n.blockKeys,
          c: rowAt(dqRows, pitch.dim, i32.sub(query, queryStart)), cRow: pitch.dim, rows: count, columns: n.columns, depth: keyCount,
        })),
      ]
      /** Copies rows of scratch memory to a gradient. */
      const write = (matrix: Heads, base: Local, source: Local, step: Local, first: Code, rows: Code, elements: Local, factor?: Uniform): Code => loopRange(row, 0, rows, 1, [
        set(from, rowAt(source, step, row)), set(to, matrix.rowAt(base, i32.add(first, row))), set(left, elements),
        copyElements(lanes, { from, to, count: left, toStep: matrix.contiguous ? undefined : matrix.element, factor }),
      ])
      const keyBlock = [
        set(blockCount, minimum(n.blockKeys, i32.sub(keyStop, key))),
        packKeys,
        // A causal query before the first key has no part in this block. Blocks keep their places.
        set(query, causal ? i32.mul(i32.divu(select(i32.sub(key, queryStart), i32.const(0), i32.gt(key, queryStart)), n.blockQueries), n.blockQueries) : 0),
        advance(query, queryStart),
        loopWhile(causal ? i32.and(i32.lt(query, queryStop), i32.lt(key, queryStop)) : i32.lt(query, queryStop), [queryBlock, advance(query, n.blockQueries)]),
        when(makesKeys, [
          write(dk, dkAt, dkRows, pitch.dim, key, blockCount, n.dim),
          write(dv, dvAt, dvRows, pitch.value, key, blockCount, n.valueDim),
        ]),
      ]
      const share = (start: Local, stop: Local, whole: Code, all: Local, size: Local): Code => {
        const first = i32.mul(i32.remu(item, n.parts), size)
        return [
          set(start, select(i32.const(0), minimum(first, all), whole)),
          set(stop, select(all, minimum(i32.add(start, size), all), whole)),
        ]
      }
      const code = [
        areas.prologue(),
        scale.set(f32.load(scaleAddress)),
        zero(f, kRows, cleared),
        loopRange(item, begin, end, 1, [
          set(head, i32.divu(item, n.parts)),
          nest.place(f, head, addresses, operands.map((h) => h.address)),
          loopRange(pass, 0, minimum(n.parts, 2), 1, [
            share(keyStart, keyStop, pass, n.keys, n.partKeys),
            share(queryStart, queryStop, i32.eqz(pass), n.queries, n.partQueries),
            when(makesQueries, zero(f, dqRows, i32.mul(i32.sub(queryStop, queryStart), pitch.dim))),
            set(key, keyStart),
            loopWhile(i32.lt(key, causal ? minimum(keyStop, select(keyStop, queryStop, makesKeys)) : keyStop), [keyBlock, advance(key, blockCount)]),
            when(makesQueries, write(dq, dqAt, dqRows, pitch.dim, queryStart, i32.sub(queryStop, queryStart), n.dim, scale)),
          ]),
        ]),
      ]
      f.emit(lanes.setup, code)
      return f
    },
  }
}
