/**
 * The reference device: runs the lowered graph step by step, each step a plain loop that makes a fresh array, with
 * floats held and computed in float64. No fusion, no views, no fused kernels: decompositions are the definition. It is
 * what the other devices are compared with.
 */
import type { LoweredGraph, Step, Value } from '../../compile/lower.ts'
import { pathOf } from '../../compile/plan.ts'
import type { Paths } from '../../compile/plan.ts'
import { byteSize, isFloat } from '../../dtype.ts'
import type { DType, TypedArray } from '../../dtype.ts'
import { DeviceError } from '../../error.ts'
import type { Spec } from '../../graph.ts'
import type { Elementwise, PrimitiveName } from '../../op.ts'
import { scalarType } from '../../ops/elementwise.ts'
import { evaluateArrays } from '../../../kernels/ir/evaluate.ts'
import { load } from '../../../kernels/ir/expression.ts'
import { at, formatShape, sizeOf } from '../../shape.ts'
import { anomalyIn } from '../anomalyReport.ts'
import type { Backend, Bindings, MemoryBlock, Executable, Homecoming, Watch } from '../backend.ts'
import { contractKernels } from './contract.ts'
import { indexingKernels } from './indexing.ts'
import type { Kernel } from './kernel.ts'
import { movementKernels } from './movement.ts'
import { reduceKernels } from './reduce.ts'
import { fill, fromHost, rounded, zeros } from './values.ts'
import type { Held, Values } from './values.ts'

const table: Readonly<Record<PrimitiveName, Kernel>> = { ...movementKernels, ...reduceKernels, ...contractKernels, ...indexingKernels }

class ReferenceBlock implements MemoryBlock {
  readonly bytes: number
  values: Values = zeros('u8', 0)

  constructor(bytes: number) {
    this.bytes = bytes
  }
}

function own(block: MemoryBlock): ReferenceBlock {
  if (!(block instanceof ReferenceBlock)) throw new DeviceError('reference: this memory belongs to another device')
  return block
}

const bytesOf = ({ shape, dtype }: Spec): number => sizeOf(shape) * byteSize(dtype)

/** A lowered graph, and after which step each value is let go of. */
class Interpreter implements Executable {
  readonly graph: LoweredGraph
  readonly peakBytes: number
  /** Per step: the values that nothing reads afterwards. */
  private readonly ends: readonly (readonly Value[])[]

  constructor(graph: LoweredGraph) {
    this.graph = graph
    const kept = new Set([...graph.leaves, ...graph.results].map(({ value }) => value.id))
    const seen = new Set<number>()
    this.ends = graph.steps
      .toReversed()
      .map(({ inputs, outputs }) => {
        const last = [...inputs, ...outputs].filter(({ id }) => !kept.has(id) && !seen.has(id))
        for (const { id } of last) seen.add(id)
        return [...new Map(last.map((v) => [v.id, v])).values()]
      })
      .toReversed()
    this.peakBytes = this.peak()
  }

  get launches(): number {
    return this.graph.steps.length
  }

  /** Results are written at the end, so they and what they overwrite exist at once. */
  private peak(): number {
    const { leaves, results, steps } = this.graph
    let bytes = [...leaves, ...results].reduce((sum, { value }) => sum + bytesOf(value.spec), 0)
    let most = bytes
    const resultIds = new Set(results.map(({ value }) => value.id))
    steps.forEach(({ outputs }, i) => {
      for (const { id, spec } of outputs) if (!resultIds.has(id)) bytes += bytesOf(spec)
      most = Math.max(most, bytes)
      for (const { spec } of at(this.ends, i)) bytes -= bytesOf(spec)
    })
    return most
  }

  describe(paths: Paths): string {
    const lines = this.graph.steps.map((step) => {
      const { op, inputs, attributes, outputs } = step
      const path = pathOf(step, paths)
      const made = outputs.map(({ id, spec }) => `%${id} ${spec.dtype}${formatShape(spec.shape)}`).join(', ')
      return `${made} = ${op.name}(${inputs.map(({ id }) => `%${id}`).join(', ')}) ${JSON.stringify(attributes)}${path === '' ? '' : ` at ${path}`}`
    })
    return [...lines, `${lines.length} steps, peak ${this.peakBytes} bytes`].join('\n')
  }

  /** `trap`: throws DeviceError if a step made what is not a number. */
  run({ leaves, results, nameOf, paths }: Bindings, trap?: { readonly infinities: boolean }): void {
    const { graph } = this
    const values = new Map<number, Values>(graph.leaves.map(({ value }, i) => [value.id, bound(at(leaves, i), value.spec)]))
    const held = ({ id, spec }: Value): Held => {
      const found = values.get(id)
      if (found === undefined) throw new RangeError(`value ${id} is read before it is computed`)
      return { spec, values: found }
    }
    const strange = ({ id, spec }: Value): boolean => trap !== undefined && isFloat(spec.dtype) && (values.get(id) ?? []).some(trap.infinities ? (x) => !Number.isFinite(x) : Number.isNaN)
    const strangeLeaves = graph.leaves.flatMap(({ value }, i) => (strange(value) ? [[value.id, nameOf(i)] as const] : []))
    const found: boolean[] = []
    graph.steps.forEach((step, i) => {
      values.set(at(step.outputs, 0).id, compute(step, step.inputs.map(held)))
      found.push(strange(at(step.outputs, 0)))
      for (const { id } of at(this.ends, i)) values.delete(id)
    })
    const anomaly = trap && anomalyIn({ device: 'reference', ...trap, leaves: new Map(strangeLeaves), steps: graph.steps.map((step, i) => ({ op: step.op.name, path: pathOf(step, paths), reads: step.inputs.map(({ id }) => id), found: at(found, i) })) })
    if (anomaly !== undefined) throw anomaly
    // No block is written before every value is known: assigns are simultaneous.
    const ends = graph.results.map(({ value }) => held(value).values)
    ends.forEach((end, i) => (own(at(results, i)).values = end.slice()))
  }
}

function bound(leaf: MemoryBlock | TypedArray | number, spec: Spec): Values {
  if (typeof leaf === 'number') return fill(spec, () => (spec.dtype === 'f32' ? Math.fround(leaf) : leaf)) // As other devices are given it.
  return ArrayBuffer.isView(leaf) ? fromHost(leaf, spec) : own(leaf).values
}

function compute({ op, attributes, outputs }: Step, inputs: readonly Held[]): Values {
  const { spec } = at(outputs, 0)
  if (op.kind === 'elementwise') return elementwise(op, inputs, attributes, spec)
  if (op.kind === 'fused') throw new DeviceError(`reference: fused op ${op.name} has no kernel`)
  return table[op.name](inputs, attributes, spec)
}

function elementwise(op: Elementwise, inputs: readonly Held[], attributes: object, output: Spec): Values {
  const expression = op.expression(inputs.map(({ spec }, i) => load(i, scalarType(spec.dtype))), attributes, output)
  const operands = inputs.map(({ values }) => (values instanceof Float64Array ? values : Float64Array.from(values)))
  return rounded(evaluateArrays(expression, operands, sizeOf(output.shape)), output)
}

export interface ReferenceOptions {
  /** Bytes it hands out before it says there are none left. Default: no limit to speak of. */
  readonly memoryLimit?: number
}

export class ReferenceBackend implements Backend {
  readonly kind = 'reference'
  readonly description: string = 'reference: float64 loops in JavaScript, slow and exact'
  readonly fingerprint: string = 'reference float64'
  readonly dtypes: ReadonlySet<DType> = new Set<DType>(['f32', 'f16', 'bf16', 'f64', 'i32', 'u32', 'u8', 'bool'])
  readonly memoryLimit: number
  private used = 0
  private trap: { readonly infinities: boolean } | undefined

  constructor({ memoryLimit = 2 ** 40 }: ReferenceOptions = {}) {
    this.memoryLimit = memoryLimit
  }

  byteSize(dtype: DType): number {
    return byteSize(dtype)
  }

  accepts(): boolean {
    return false
  }

  compile(graph: LoweredGraph): Promise<Executable> {
    return Promise.resolve(new Interpreter(graph))
  }

  allocate(bytes: number): MemoryBlock | undefined {
    if (this.used + bytes > this.memoryLimit) return undefined
    this.used += bytes
    return new ReferenceBlock(bytes)
  }

  release(block: MemoryBlock): void {
    this.used -= block.bytes
    own(block).values = zeros('u8', 0)
  }

  write(block: MemoryBlock, data: TypedArray | Uint16Array<ArrayBuffer>, spec: Spec): void {
    own(block).values = fromHost(data, spec)
  }

  /** Floats come back as float64, so that nothing of the oracle's precision is lost. */
  read(block: MemoryBlock): Promise<TypedArray> {
    return Promise.resolve(own(block).values.slice())
  }

  run(executable: Executable, bindings: Bindings, home: readonly Homecoming[]): Promise<readonly TypedArray[]> {
    if (!(executable instanceof Interpreter)) throw new DeviceError('reference: this plan belongs to another device')
    executable.run(bindings, this.trap)
    return Promise.resolve(home.map(({ result }) => own(at(bindings.results, result)).values.slice()))
  }

  watch(watch: Watch | undefined): void {
    if (watch?.kind === 'times') throw new DeviceError('reference: loops that are there to be exact are not timed; profile on webgpu')
    this.trap = watch
  }

  close(): Promise<void> {
    return Promise.resolve()
  }
}
