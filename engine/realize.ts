/**
 * Realising: what is to be computed is captured synchronously and enters the device's first-in-first-out queue.
 * A realised tensor becomes a leaf and lets go of its graph.
 */
import type { CachedPlan } from './compile/cache.ts'
import { capture, encode, reach } from './compile/capture.ts'
import type { Capture } from './compile/capture.ts'
import { lower } from './compile/lower.ts'
import { toHostArray } from './create.ts'
import { getDefaultDevice } from './device/device.ts'
import type { Device } from './device/device.ts'
import { hostArray } from './dtype.ts'
import type { TypedArray } from './dtype.ts'
import { DeviceError, ShapeError, StaleReadError } from './error.ts'
import type { Leaf, Node, Tensor, TensorLike } from './graph.ts'
import { partition } from './partition.ts'
import type { Part } from './partition.ts'
import { Run, blockOf, producerOf } from './run.ts'
import { formatShape } from './shape.ts'
import { Storage } from './storage.ts'
import { Variable } from './variable.ts'
import type { Writer } from './variable.ts'

/**
 * Computes tensors, and every variable that was assigned, in as few runs as share work; without arguments, what was
 * assigned on the default device. Resolves when all is done.
 */
export async function realize(...tensors: readonly (TensorLike | undefined)[]): Promise<void> {
  await Promise.all(submit(tensors.filter((t) => t !== undefined)))
}

/** What a realisation is to give besides the variables that were assigned: those need no memory but their own. */
function outputsOf(tensors: readonly TensorLike[]): Tensor[] {
  const read = tensors.flatMap((t) => (t instanceof Variable && t.move !== undefined && t.move === t.read() ? [] : [t.read()]))
  return [...new Map(read.map((t) => [`${t.node.id}.${t.output}`, t])).values()]
}

/** Whether there is something to do: compute it, or keep a variable's old value that is about to be overwritten. */
const isOpen = ({ leaf }: Tensor): boolean => leaf === undefined || (leaf.kind === 'cell' && leaf.cell.move !== undefined)

export interface PlanSummary {
  /** Bytes in use at the worst moment of a run, known before it. */
  readonly peakBytes: number
  readonly launches: number
  /** Launches with shapes, bytes and FLOPs, as text. */
  readonly text: string
}

/** The plan that `realize(...tensors)` would run, compiled but not run; nothing moves. One for each run it would take. */
export async function explain(...tensors: readonly TensorLike[]): Promise<PlanSummary[]> {
  const [first] = tensors
  if (first === undefined) return []
  const { device } = first
  device.assertOpen('explain')
  const plans = partition(outputsOf(tensors).filter(isOpen), device.moved.list()).map((part) => planFor(device, part, false))
  return Promise.all(plans.map(async ({ plan, captured }) => {
    const compiled = await plan.executable
    return { peakBytes: compiled.peakBytes, launches: compiled.launches, text: compiled.describe(captured.nodes.map(({ path }) => path)) }
  }))
}

/** Nothing starts before everything is planned: what cannot be run throws here and leaves all as it was. */
function submit(tensors: readonly TensorLike[]): Promise<void>[] {
  const devices = tensors.length === 0 ? [getDefaultDevice('realize')] : new Set(tensors.map((t) => t.device))
  const planned = [...devices].flatMap((device) => prepare(device, tensors.filter((t) => t.device === device)))
  return planned.map((begin) => begin())
}

function prepare(device: Device, tensors: readonly TensorLike[]): (() => Promise<void>)[] {
  device.assertOpen('realize')
  const outputs = outputsOf(tensors)
  const producers = new Set(outputs.flatMap(({ leaf }) => (leaf === undefined ? [] : (producerOf(leaf) ?? []))))
  const open = outputs.filter(isOpen)
  const waits = [...producers].map((run) => () => device.enqueue(async () => settled(run)))
  const parts = partition(open, device.moved.list())
  const { refusal } = device.backend
  if (refusal !== undefined && parts.length > 0) throw new DeviceError(refusal)
  const planned = parts.map((part) => ({ part, plan: planFor(device, part) }))
  return [...waits, ...planned.map(({ part, plan }) => () => start(device, part, plan))]
}

/** The run that was to fill it, if it was an earlier one; by our turn in the queue that run has ended. */
async function settled(producer: Writer | undefined): Promise<void> {
  if (producer?.error !== undefined) throw producer.error
}

interface Planned {
  readonly captured: Capture
  readonly plan: CachedPlan
  readonly moves: readonly Tensor[]
}

function planFor(device: Device, { outputs, cells, reached }: Part, counted = true): Planned {
  const moves: Tensor[] = []
  cells.forEach(({ move }) => move !== undefined && moves.push(move))
  const captured = capture(reached, [...outputs, ...moves], [...outputs.map(() => undefined), ...cells])
  try {
    for (const { tensor, leaf } of captured.leaves) assertFresh(tensor, leaf)
  } catch (error) {
    if (counted) dropStale(cells, error)
    throw error
  }
  const key = encode(captured, device.plans.interner, device.plans.key)
  if (device.watch?.kind === 'anomalies') key.push(0) // Ops are not fused then, and keys of all other plans are shorter.
  const plan = device.plans.find(key, async () => device.backend.compile(lower(captured, device)), counted)
  return { captured, plan, moves }
}

/** Assigned values that can no longer be computed are forgotten with the error that says so, or it would meet all that follows. */
function dropStale(cells: readonly Variable[], error: unknown): void {
  for (const cell of cells) {
    if (cell.move === undefined || reach([cell.move]).leaves.every(({ tensor, leaf }) => staleness(tensor, leaf) === undefined)) continue
    cell.drop()
    if (cell.now.number === 0 && error instanceof Error) cell.poison = error // It never had a value to go back to.
  }
}

function start(device: Device, { outputs, cells }: Part, { captured, plan, moves }: Planned): Promise<void> {
  const run = new Run(device, captured)
  const nodes: Node[] = []
  for (const t of outputs) {
    const storage = new Storage(device, t, t.node.path === '' ? t.node.op.name : `${t.node.path}/${t.node.op.name}`)
    run.fill(storage)
    becomeLeaf(t, { kind: 'stored', storage })
    nodes.push(t.node)
  }
  cells.forEach((cell, i) => {
    run.move(cell)
    const value = moves[i]
    if (value === undefined || value.leaf !== undefined) return
    becomeLeaf(value, cell.now)
    if (value.node !== nodes.at(-1)) nodes.push(value.node)
  })
  nodes.forEach(letGo)
  return device.enqueue(async () => run.execute(plan))
}

function assertFresh(t: Tensor, leaf: Leaf): void {
  const why = staleness(t, leaf)
  if (why !== undefined) throw new StaleReadError(why)
}

/** Why the value of a leaf is gone, if it is. */
function staleness(t: Tensor, leaf: Leaf): string | undefined {
  if (leaf.kind === 'cell' && leaf !== leaf.cell.now) {
    return `a tensor reads variable ${leaf.cell.name || formatShape(t.shape)} at version ${leaf.number}, but the variable is at version ${leaf.cell.now.number} and the old value was overwritten; realize the tensor before, or together with, the step that moves the variable`
  }
  if (leaf.kind === 'cell' && leaf.cell.storage.disposed) {
    return `a tensor reads variable ${leaf.cell.name || formatShape(t.shape)}, which was disposed of; keep it until everything that reads it is realized`
  }
  if (leaf.kind === 'stored' && leaf.storage.disposed) {
    return `${leaf.storage.label} ${formatShape(t.shape)} was disposed of; keep it until everything that reads it is realized`
  }
  return undefined
}

function becomeLeaf({ node, output }: Tensor, leaf: Leaf): void {
  node.realized = true
  if (node.outputs.length === 1) node.leaf = leaf
  else {
    node.leaves ??= new Array<Leaf | undefined>(node.outputs.length).fill(undefined)
    node.leaves[output] = leaf
  }
}

/** A node with no other output has no more use for its inputs. */
function letGo(node: Node): void {
  if (node.leaves?.includes(undefined) === true) return
  node.inputs = []
  node.attributes = {}
}

/**
 * The values of a tensor on the host, in row-major order; realises it first. The array is the caller's. Reading takes its
 * turn now, so it gets what the tensor is at the call, whatever is queued after it.
 */
export async function readData(x: TensorLike): Promise<TypedArray> {
  const t = x.read()
  const computed = t.leaf === undefined ? realize(x) : undefined
  const [data] = await Promise.all([readLeaf(t), computed])
  return data
}

async function readLeaf(t: Tensor): Promise<TypedArray> {
  const { leaf } = t
  if (leaf === undefined) return hostArray(t.dtype, 0) // Realising failed at once, and its promise says why.
  assertFresh(t, leaf)
  switch (leaf.kind) {
    case 'data':
      return leaf.data.slice()
    case 'scalar':
      return toHostArray('data', [leaf.value], t.dtype)
    case 'cell':
      return readCell(t, leaf.cell)
    case 'stored':
      return readStored(t, leaf.storage)
    case 'placeholder':
      throw new RangeError('a placeholder has no value')
    default:
      return leaf satisfies never
  }
}

function readCell(t: Tensor, cell: Variable): Promise<TypedArray> {
  const { producer } = cell.now
  return t.device.enqueue(async () => {
    const error = producer?.error ?? cell.poison
    if (error !== undefined) throw error
    return t.device.backend.read(blockOf(cell.storage), t)
  })
}

async function readStored(t: Tensor, storage: Storage): Promise<TypedArray> {
  storage.pin()
  try {
    return await t.device.enqueue(async () => {
      await settled(storage.producer)
      return storage.host?.slice() ?? t.device.backend.read(blockOf(storage), t)
    })
  } finally {
    storage.unpin()
  }
}

/** The value of a tensor with one element. */
export async function readItem(x: TensorLike): Promise<number> {
  const t = x.read()
  if (t.size !== 1) throw new ShapeError(`item: a tensor of shape ${formatShape(t.shape)} has ${t.size} elements, not one; use data()`)
  const [value] = await readData(t)
  if (value === undefined) throw new RangeError('one element')
  return value
}

/** Frees a realised tensor's device memory now rather than when it is collected. Reading it afterwards is an error. */
export function dispose(x: Tensor): void {
  if (x.leaf?.kind === 'stored') x.leaf.storage.dispose()
}
