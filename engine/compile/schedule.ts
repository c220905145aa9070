/**
 * Scheduling: walks the lowered graph in creation order and turns it into launches. Values that one kernel reads stay
 * fragments; the others get a buffer, laid out as their operands lie or as their kernel prefers.
 */
import { accumulator, constant, load } from '../../kernels/ir/expression.ts'
import type { DType } from '../dtype.ts'
import type { Spec } from '../graph.ts'
import type { Elementwise, Movement, Role } from '../op.ts'
import { scalarType } from '../ops/elementwise.ts'
import type { SliceAttributes } from '../ops/movement.ts'
import { at, sizeOf } from '../shape.ts'
import { bareLoad, isCheap, isUniform, mergeLoads, moveFragment, operations, readsOneValue, replaceLeaves, withoutOnes } from './fragment.ts'
import type { Fragment, Load, Reduction } from './fragment.ts'
import { beforeStore, halfOf, rounded, wide } from './halfRounding.ts'
import type { Halves, KernelOperands } from './kernelOperands.ts'
import type { LoweredGraph, Step, Value } from './lower.ts'
import { followOrder, rowMajor } from './order.ts'
import { accessesOf, bytesOf, labelOf, readsInPlace } from './plan.ts'
import type { Home, Launch, Plan, PlanBuffer } from './plan.ts'
import { launchProduct, ownView } from './pendingProduct.ts'
import type { PendingProduct } from './pendingProduct.ts'
import { finalValues, isNarrow, narrowedValues, roleOf, storedValues } from './uses.ts'
import { bufferView, isPacked, memoryOrder, moveView, repeatedBeside, sliceView } from './view.ts'
import type { View } from './view.ts'

/** Distinct buffers one generated kernel reads: WebGPU grants at least 8 storage buffers, and one is written. */
const maxBuffers = 7
const maxOperations = 200
/** A value that is the same everywhere stays an expression, where a kernel is too large, up to this many. */
const fewOperations = 4

type RoleOf<K extends Role['kind']> = Extract<Role, { readonly kind: K }>

export function schedule(graph: LoweredGraph, kernels: KernelOperands): Plan {
  return new Scheduler(graph, kernels).run()
}

class Scheduler {
  private readonly graph: LoweredGraph
  private readonly kernels: KernelOperands
  private readonly stored: ReadonlySet<number>
  private readonly results: ReadonlySet<number>
  private readonly final: ReadonlySet<number>
  /** By value: what kernels may write, and read, in f16 memory. */
  private readonly narrowed: ReadonlySet<number>
  private readonly halfOperands: ReadonlySet<number>
  private readonly fragments = new Map<number, Fragment>()
  private readonly buffers: PlanBuffer[] = []
  private readonly launches: Launch[] = []
  /** The elementwise ops that became part of each product's launch, in order. */
  private readonly epilogues = new Map<Step, string[]>()
  /** How many reads are still to come of values that wait for each product. */
  private readonly waiting = new Map<Step, number>()
  /** Products that had to be stored by themselves. */
  private readonly settled = new Map<Step, Load>()
  /** Steps that read each value. */
  private readonly readers = new Map<number, number>()
  private loadIds = 0

  constructor(graph: LoweredGraph, kernels: KernelOperands) {
    this.graph = graph
    this.kernels = kernels
    this.stored = storedValues(graph)
    this.results = new Set(graph.results.map((r) => r.value.id))
    this.final = finalValues(graph)
    this.narrowed = narrowedValues(graph, kernels.halves)
    this.halfOperands = new Set(graph.steps.flatMap((step) => kernels.halves(step)?.inputs.map((i) => at(step.inputs, i).id) ?? []))
    for (const step of graph.steps) for (const { id } of new Set(step.inputs)) this.readers.set(id, (this.readers.get(id) ?? 0) + 1)
  }

  run(): Plan {
    this.graph.leaves.forEach(({ value }, index) => {
      const buffer = this.buffer(value.spec, { kind: 'leaf', index })
      this.fragments.set(value.id, this.loadOf(buffer, bufferView(value.spec.shape)))
    })
    for (const step of this.graph.steps) this.visit(step)
    this.finish()
    return { graph: this.graph, buffers: this.buffers, launches: this.launches }
  }

  private readonly nextId = (): number => this.loadIds++

  private buffer({ shape, dtype }: Spec, home: Home): PlanBuffer {
    const elements = sizeOf(shape)
    const buffer = { id: this.buffers.length, dtype, elements, bytes: bytesOf(dtype, elements), home }
    this.buffers.push(buffer)
    return buffer
  }

  private loadOf({ id: buffer, dtype }: PlanBuffer, view: View): Fragment {
    const id = this.nextId()
    return { shape: view.shape, dtype, expression: load(id, scalarType(dtype)), loads: [{ id, buffer, dtype, view }], accumulated: undefined }
  }

  private fragment(v: Value): Fragment {
    const f = this.fragments.get(v.id)
    if (f === undefined) throw new RangeError(`value ${v.id} is read before it is made`)
    return f
  }

  private visit(step: Step): void {
    for (const v of new Set(step.inputs)) this.countReads(this.fragment(v), -1)
    const role = roleOf(step)
    switch (role.kind) {
      case 'elementwise':
        return this.elementwise(step, role.op)
      case 'movement':
        return this.movement(step, role.movement)
      case 'reduce':
        return this.reduce(step, role)
      case 'join':
        return this.join(step, role)
      case 'kernel':
        return this.kernel(step)
      default:
        return role satisfies never
    }
  }

  /** Notes that reads of a waiting value have come (fewer) or will come (more). */
  private countReads({ accumulated }: Fragment, reads: number): void {
    if (accumulated?.kind === 'product') this.waiting.set(accumulated.step, (this.waiting.get(accumulated.step) ?? 0) + reads)
  }

  private elementwise(step: Step, op: Elementwise): void {
    const output = at(step.outputs, 0)
    const inputs = this.fit(step.inputs.map((v) => this.fragment(v)), step)
    const { loads, expressions } = mergeLoads(inputs)
    const accumulated = inputs.find((f) => f.accumulated !== undefined)?.accumulated
    if (accumulated?.kind === 'product') this.epilogues.set(accumulated.step, [...(this.epilogues.get(accumulated.step) ?? []), op.name])
    const { shape, dtype } = output.spec
    const expression = rounded(withoutOnes(op.expression(expressions, step.attributes, output.spec)), dtype, loads)
    this.define(output, { shape, dtype, expression, loads, accumulated }, step)
  }

  /** Stores inputs until the rest fits one kernel: one reduction or product, few buffers, an expression of bounded size. */
  private fit(inputs: readonly Fragment[], step: Step): Fragment[] {
    const kept = inputs.find((f) => f.accumulated !== undefined)?.accumulated
    const fitted = this.storeSome(inputs, (f) => f.accumulated !== undefined && f.accumulated !== kept, step)
    const loads = fitted.flatMap((f) => f.loads)
    const buffers = (all: readonly Load[]): number => new Set(all.map((l) => l.buffer)).size
    // What comes after is bound beside a product's factors, or parts of a reduction.
    const beside = kept?.kind === 'product' ? kept.loads.length : Number(kept !== undefined)
    const size = fitted.reduce((n, f) => n + operations(f.expression).length, 0)
    const fits = Math.max(buffers([...loads, ...(kept?.loads ?? [])]), beside + buffers(loads)) <= maxBuffers && size <= maxOperations
    // Kernels of products read no padding.
    if (kept?.kind === 'product' && !(fits && loads.every((l) => l.view.mask === undefined))) {
      return this.fit(this.storeSome(fitted, (f) => f.accumulated === kept, step), step)
    }
    if (fits) return fitted
    const small = (f: Fragment): boolean => isUniform(f) && f.loads.length <= 1 && operations(f.expression).length <= fewOperations
    return this.storeSome(fitted, (f) => bareLoad(f) === undefined && !small(f), step)
  }

  /** The fragments with some of them stored, each once. A product that others wait for, too, is stored by itself, so that it is computed once. */
  private storeSome(fragments: readonly Fragment[], wanted: (f: Fragment) => boolean, step: Step): Fragment[] {
    const chosen = new Set(fragments.filter(wanted))
    const stored = new Map([...chosen].map((f) => {
      const { accumulated } = f
      const others = accumulated?.kind === 'product' && ((this.waiting.get(accumulated.step) ?? 0) > 0 || [...chosen].some((g) => g !== f && g.accumulated === accumulated))
      return [f, others ? this.settle(f, accumulated) : this.store(f, step)]
    }))
    return fragments.map((f) => stored.get(f) ?? f)
  }

  private movement(step: Step, m: Movement | undefined): void {
    const output = at(step.outputs, 0)
    const f = this.fragment(at(step.inputs, 0))
    const moved = m === undefined ? f : moveFragment(f, m, output.spec.shape, this.nextId) ?? this.moveStored(f, m, output, step)
    this.define(output, moved, step)
  }

  /** A value whose fragment cannot be moved is stored as it is; if strides cannot express the movement, so that they can. */
  private moveStored(f: Fragment, m: Movement, output: Value, step: Step): Fragment {
    const move = (stored: Fragment): Fragment | undefined => moveFragment(stored, m, output.spec.shape, this.nextId)
    const bare = bareLoad(f)
    const anyOrder = f.accumulated?.kind === 'product' && f.accumulated.order === 'any'
    if (bare === undefined && !anyOrder) return this.moveStored(this.store(f, step), m, output, step)
    const moved = bare && move(f)
    if (moved !== undefined) return moved
    // A repeated axis next to the one it follows keeps channels-last values channels-last when images grow.
    const own = bare === undefined ? followOrder(f.shape, [f]) : repeatedBeside(bare.view)
    const order = [own, rowMajor(f.shape)].find((o) => moveView(bufferView(f.shape, o), m) !== undefined)
    return move(this.store(f, step, order)) ?? unreachable(step)
  }

  private reduce(step: Step, { op, axes }: RoleOf<'reduce'>): void {
    const output = at(step.outputs, 0)
    const whole = this.fragment(at(step.inputs, 0))
    const f = whole.accumulated === undefined ? whole : this.store(whole, step)
    const accumulated: Reduction = { kind: 'reduction', op, axes, shape: f.shape, element: f.expression, loads: f.loads }
    const { shape, dtype } = output.spec
    this.define(output, { shape, dtype, expression: rounded(accumulator(f.expression.type), dtype, []), loads: [], accumulated }, step)
  }

  /** Producers write into slices of the whole, which is cleared first where that leaves gaps. */
  private join(step: Step, { slices, gaps = false }: RoleOf<'join'>): void {
    const output = at(step.outputs, 0)
    const parts = step.inputs.map((v) => this.fragment(v))
    const whole = this.loadOf(this.buffer(output.spec, { kind: 'workspace' }), bufferView(output.spec.shape, this.orderFor(output, parts)))
    if (gaps) this.emit({ ...whole, expression: constant(0, scalarType(output.spec.dtype)), loads: [] }, whole, `${step.op.name} zeros`, step)
    parts.forEach((part, i) => this.writeInto(whole, part, at(slices, i), step))
    this.fragments.set(output.id, whole)
  }

  private writeInto(whole: Fragment, part: Fragment, { start, size, step: by }: SliceAttributes, step: Step): void {
    const [target] = whole.loads
    if (target === undefined) throw new RangeError('a stored value is one load')
    if (sizeOf(part.shape) === 0) return
    const slice = { ...target, view: sliceView(target.view, start, size, by) }
    this.emit(part, { ...whole, loads: [slice] }, step.op.name, step)
  }

  /** A hand-written kernel. */
  private kernel(step: Step): void {
    const halves = this.halvesOf(step)
    const loads = step.inputs.map((v, i) => this.operand(v, halves.inputs.includes(i) ? 'f16' : wide(v.spec.dtype), step))
    const wanted = this.kernels.layouts(step, loads.map((l) => l.view), step.outputs.every((v) => this.final.has(v.id)))
    const inputs = loads.map((l, i) => this.arranged(l, at(wanted.inputs, i), step, at(step.inputs, i)))
    const [only] = step.outputs
    if (wanted.epilogue === true && (only?.spec.dtype === 'f32' || only?.spec.dtype === 'f16')) return this.product(step, only, inputs, at(wanted.outputs, 0))
    const outputs = step.outputs.map((v, i) => {
      const [dtype, order] = [halves.outputs.includes(i) ? 'f16' : wide(v.spec.dtype), at(wanted.outputs, i)]
      return this.loadOf(this.buffer({ shape: v.spec.shape, dtype }, { kind: 'workspace' }), bufferView(v.spec.shape, order === 'any' ? rowMajor(v.spec.shape) : order))
    })
    const { inPlace = () => false } = wanted
    this.launches.push({ kind: 'op', step, inputs, outputs: outputs.map((f) => bareLoad(f) ?? unreachable(step)), epilogue: undefined, inPlace, label: labelOf(step) })
    step.outputs.forEach((v, i) => {
      const f = at(outputs, i)
      const { dtype } = v.spec
      this.fragments.set(v.id, f.dtype === wide(dtype) && f.dtype !== dtype ? this.store({ ...f, dtype }, step, this.orderFor(v, [f]), 'round ') : { ...f, dtype })
    })
  }

  /** A product that one kernel's worth of elementwise ops reads waits for them. */
  private product(step: Step, output: Value, loads: readonly Load[], order: readonly number[] | 'any'): void {
    const { shape, dtype } = output.spec
    const view = bufferView(shape, order === 'any' ? rowMajor(shape) : order)
    this.define(output, { shape, dtype, expression: rounded(accumulator('f32'), dtype, []), loads: [], accumulated: { kind: 'product', step, loads, order, view, back: [] } }, step)
  }

  /** Which operands of the step's kernel lie in f16. */
  private halvesOf(step: Step): Halves {
    const halves = this.kernels.halves(step)
    const inputs = halves?.inputs.map((i) => halfOf(this.fragment(at(step.inputs, i)))) ?? []
    const all = inputs.every((h) => h.holds) && inputs.some((h) => h.proper) && halves?.outputs.every((i) => this.narrowed.has(at(step.outputs, i).id)) === true
    return all ? halves : { inputs: [], outputs: [] }
  }

  /** The value in memory as `dtype`, its own type or one that kernels take instead: a copy if it does not lie so. */
  private operand(v: Value, dtype: DType, step: Step): Load {
    const f = this.fragment(v)
    const own = bareLoad({ ...f, dtype })
    if (own !== undefined) return own
    const copy = this.store({ ...f, dtype }, step, undefined, dtype === f.dtype || dtype === 'f16' ? '' : 'widen for ')
    // The same value, half as long; or what the definition left to the kernels.
    if (dtype === 'f16' || (this.halfOperands.has(v.id) && !halfOf(f).proper)) this.fragments.set(v.id, { ...copy, dtype: f.dtype })
    return bareLoad(copy) ?? unreachable(step)
  }

  /** The operand itself, or a copy that lies as the kernel wants; whoever reads the value later reads the copy, too. */
  private arranged(l: Load, order: readonly number[] | 'any', step: Step, value: Value): Load {
    const packed = order === 'any' ? l.view.mask === undefined : isPacked(l.view, order) && l.view.offset === 0
    if (packed) return l
    const f = { shape: l.view.shape, dtype: l.dtype, expression: load(l.id, scalarType(l.dtype)), loads: [l], accumulated: undefined }
    const copy = this.store(f, step, order === 'any' ? memoryOrder(l.view) : order, 'copy for ')
    const repeats = l.view.strides.some((s, i) => s === 0 && at(l.view.shape, i) > 1)
    if (!repeats && (l.dtype === value.spec.dtype || l.dtype === 'f16')) this.fragments.set(value.id, { ...copy, dtype: value.spec.dtype })
    return bareLoad(copy) ?? unreachable(step)
  }

  private define(output: Value, f: Fragment, step: Step): void {
    // A constant is rounded where it is written, f16 in registers; every other value of a narrow type where it is stored.
    const inlined = isUniform(f) || (isCheap(f, 4) && readsOneValue(f))
    const cheap = bareLoad(f) !== undefined || f.expression.op === 'const' || (inlined && !isNarrow(f.dtype))
    const half = this.halfOperands.has(output.id) && !this.results.has(output.id) ? halfOf(f) : undefined
    // A mask, of constants: its kernel says in which type it is to lie.
    const deferred = half?.holds === true && !half.proper && isCheap(f, 4)
    const needed = this.stored.has(output.id) && !deferred && !(cheap && !this.results.has(output.id))
    const alone = this.graph.separate === true && f.expression.op !== 'const'
    const keep = (needed || alone) && bareLoad(f) === undefined
    // A result that its kernel cannot write row-major is copied at the end, so that others read what the kernel wrote.
    const ownOrder = f.accumulated?.kind === 'product' && f.accumulated.order !== 'any'
    if (!keep) this.countReads(f, this.readers.get(output.id) ?? 0)
    const stored = keep ? this.store(half?.proper === true ? { ...f, dtype: 'f16' } : f, step, ownOrder ? undefined : this.orderFor(output, [f])) : f
    this.fragments.set(output.id, { ...stored, dtype: f.dtype })
  }

  /** Results are row-major; everything else lies as what it is made of. */
  private orderFor(output: Value, parts: readonly Fragment[]): readonly number[] {
    return this.results.has(output.id) ? rowMajor(output.spec.shape) : followOrder(output.spec.shape, parts)
  }

  /** Writes a fragment to a new buffer. */
  private store(f: Fragment, step: Step, order: readonly number[] = followOrder(f.shape, [f]), prefix = ''): Fragment {
    const stored = this.loadOf(this.buffer(f, { kind: 'workspace' }), bufferView(f.shape, order))
    this.emit(f, stored, `${prefix}${step.op.name}`, step)
    return stored
  }

  private emit(f: Fragment, target: Fragment, name: string, step: Step): void {
    const { loads, accumulated } = f
    const [output] = target.loads
    if (output === undefined) throw new RangeError('a stored value is one load')
    const expression = beforeStore(f.expression, output.dtype)
    switch (accumulated?.kind) {
      case undefined:
        this.launches.push({ kind: 'map', expression, loads, output, label: labelOf(step, name) })
        return
      case 'reduction':
        this.launches.push({ kind: 'reduce', reduction: accumulated, expression, loads, output, label: labelOf(step, `${name} ${accumulated.op}`) })
        return
      case 'product': {
        const ops = this.epilogues.get(accumulated.step) ?? []
        const launch = this.settled.has(accumulated.step) ? undefined : launchProduct(accumulated, expression, loads, output, ops)
        if (launch === undefined) this.emit(this.settle(f, accumulated), target, name, step)
        else this.launches.push(launch)
      }
    }
  }

  /** The fragment with its product stored by itself. */
  private settle(f: Fragment, product: PendingProduct): Fragment {
    const stored = this.settled.get(product.step) ?? this.storeAlone(product)
    const read: Load = { ...stored, id: this.nextId(), view: product.view }
    const expression = replaceLeaves(f.expression, 'accumulator', () => load(read.id, 'f32'))
    return { ...f, expression, loads: [...f.loads, read], accumulated: undefined }
  }

  private storeAlone(product: PendingProduct): Load {
    const { step } = product
    const view = ownView(product) ?? unreachable(step)
    const output: Load = { id: this.nextId(), buffer: this.buffer({ shape: view.shape, dtype: 'f32' }, { kind: 'workspace' }).id, dtype: 'f32', view }
    this.launches.push(launchProduct({ ...product, back: [] }, accumulator('f32'), [], output, []) ?? unreachable(step))
    this.settled.set(step, output)
    return output
  }

  /** Gives results their homes: written where they belong if nothing still needs the old value, else copied at the end. */
  private finish(): void {
    const end: { f: Fragment; target: PlanBuffer }[] = []
    const overwritten = new Set(this.graph.results.flatMap((r) => r.overwrites ?? []))
    // First of all, so that nothing is written over what they read.
    const kept = this.graph.results.map(({ value }) => {
      const f = this.fragment(value)
      const source = bareLoad(f)
      return source !== undefined && overwritten.has(source.buffer) ? this.store(f, ending, rowMajor(f.shape), 'keep ') : f
    })
    const { reads, writes } = accessesOf({ buffers: this.buffers, launches: this.launches })
    // Nothing reads the leaf after the buffer is first written.
    const mayOverwrite = (buffer: number, leaf: number): boolean => {
      const [written = -1] = at(writes, buffer)
      return at(reads, leaf).every((i) => i < written || (i === written && readsInPlace(at(this.launches, i), buffer, leaf)))
    }
    this.graph.results.forEach(({ value, overwrites }, index) => {
      const f = at(kept, index)
      const source = bareLoad(f)
      const buffer = source === undefined ? undefined : this.buffers[source.buffer]
      const whole = source !== undefined && isPacked(source.view, rowMajor(f.shape)) && source.view.offset === 0 && sizeOf(f.shape) === buffer?.elements
      if (whole && buffer?.home.kind === 'workspace' && (overwrites === undefined || mayOverwrite(buffer.id, overwrites))) {
        buffer.home = { kind: 'result', index }
        return
      }
      end.push({ f, target: this.buffer(value.spec, { kind: 'result', index }) })
    })
    for (const { f, target } of end) this.emit(f, this.loadOf(target, bufferView(f.shape)), 'result', ending)
  }
}

/** Stands for the end of the run in labels. */
const ending = { origin: undefined, path: '', op: { name: 'result' } } as Step

function unreachable(step: Step): never {
  throw new RangeError(`${step.op.name}: a stored value must be a single load`)
}
