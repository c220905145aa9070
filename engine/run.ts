/**
 * One run of a plan: what it was captured with, and its life in the device's queue. A run commits all its variables
 * or, if it fails before submitting, none; if it fails afterwards the variables it writes are poisoned and say so.
 */
import type { Capture, CapturedLeaf } from './compile/capture.ts'
import type { CachedPlan } from './compile/cache.ts'
import type { Bindings, MemoryBlock, Executable } from './device/backend.ts'
import type { Device } from './device/device.ts'
import type { TypedArray } from './dtype.ts'
import { DeviceError } from './error.ts'
import type { Leaf } from './graph.ts'
import { formatShape } from './shape.ts'
import type { Storage } from './storage.ts'
import type { Variable, Version, Writer } from './variable.ts'

export class Run implements Writer {
  /** Why it failed, once it has. */
  error: Error | undefined
  succeeded = false
  private readonly device: Device
  private leaves: readonly CapturedLeaf[]
  /** Of the nodes, where launches can be told apart: they themselves are garbage by the time it runs. */
  private paths: readonly string[]
  private readonly producers = new Set<Writer>()
  private results: Storage[] = []
  /** For each variable it moves, the version before. */
  private commits: Version[] = []
  /** The results that are tensors' own, not variables'. */
  private outputs: Storage[] = []

  constructor(device: Device, { leaves, nodes }: Pick<Capture, 'leaves' | 'nodes'>) {
    this.device = device
    this.leaves = leaves
    this.paths = device.backend.watch === undefined ? [] : nodes.map(({ path }) => path)
    for (const { leaf } of leaves) {
      const producer = producerOf(leaf)
      if (producer !== undefined) this.producers.add(producer)
      if (leaf.kind === 'stored') leaf.storage.pin()
    }
  }

  /** The next result goes to a tensor's own storage. */
  fill(storage: Storage): void {
    storage.producer = this
    storage.pin()
    this.outputs.push(storage)
    this.results.push(storage)
  }

  /** The next result moves a variable. */
  move(cell: Variable): void {
    this.commits.push(cell.commit(this))
    this.results.push(cell.storage)
  }

  /** Takes back the move of a variable that this run did not get to write. */
  undo(cell: Variable): void {
    const before = this.commits.find((version) => version.cell === cell)
    // What it began to write is lost, and the cell stays poisoned where it is.
    if (before !== undefined && cell.poison !== this.error) cell.undo(this, before)
  }

  async execute(plan: CachedPlan): Promise<void> {
    try {
      // Found before, while the cells are in the processor's caches: afterwards the kernels' data are.
      const poisoned = this.commits.filter(({ cell }) => cell.poison !== undefined)
      await this.attempt(plan)
      for (const storage of this.outputs) storage.producer = undefined
      for (const { cell } of poisoned) cell.poison = undefined
      this.succeeded = true
      this.commits = [] // Only a failed run is asked to go back.
    } finally {
      for (const { leaf } of this.leaves) if (leaf.kind === 'stored') leaf.storage.unpin()
      for (const storage of this.outputs) storage.unpin()
      // Versions know the run that wrote them: what it held would live as long as they do, and every step before it.
      this.producers.clear()
      this.leaves = []
      this.paths = []
      this.results = []
      this.outputs = []
    }
  }

  private async attempt(plan: CachedPlan): Promise<void> {
    const { backend } = this.device
    try {
      for (const producer of this.producers) if (producer.error !== undefined) throw producer.error
      const executable = await plan.executable
      const bindings = await this.reserve(executable).catch(async () => {
        // A device that has too little memory has given back what it kept for later, and more may be held by nobody.
        await this.device.collect()
        return this.reserve(executable)
      })
      await this.submit(async () => {
        const outputs = new Set(this.outputs)
        const small = this.results.flatMap((storage, result) => (storage.small && outputs.has(storage) ? [{ storage, result, spec: storage.spec }] : []))
        const values = await backend.run(executable, bindings, small)
        this.device.countRun(executable.launches)
        small.forEach(({ storage }, i) => {
          storage.host = values[i]
          this.device.release(storage)
        })
      })
    } catch (error) {
      this.fail(error)
    }
  }

  /** Gives the run all the memory that it needs. Where there is too little it has none. */
  private async reserve(executable: Executable): Promise<Bindings> {
    const { device, leaves, paths, results } = this
    const fresh = results.filter(({ block }) => block === undefined)
    try {
      for (const storage of fresh) await device.hold(storage)
      const bindings = { leaves: leaves.map(bind), results: results.map(blockOf), nameOf: (leaf: number) => nameOf(leaves[leaf]), paths }
      const prepared = executable.prepare?.(bindings)
      if (prepared !== undefined) await prepared // A turn of the event loop that most devices need not take.
      return bindings
    } catch (error) {
      for (const storage of fresh) device.release(storage)
      throw error
    }
  }

  private async submit(run: () => Promise<void>): Promise<void> {
    try {
      await run()
    } catch (error) {
      for (const { cell } of this.commits) cell.poison = asError(error)
      throw error
    }
  }

  private fail(error: unknown): never {
    this.error = asError(error)
    for (const before of this.commits) {
      const { cell } = before
      if (cell.poison !== this.error) cell.undo(this, before)
      if (cell.now.number === 0) this.device.release(cell.storage) // Nothing was ever written there.
    }
    for (const storage of this.outputs) this.device.release(storage)
    throw this.error
  }
}

/** The run that is to fill a leaf, until it has. */
export function producerOf(leaf: Leaf): Writer | undefined {
  return leaf.kind === 'stored' ? leaf.storage.producer : leaf.kind === 'cell' ? leaf.producer : undefined
}

const asError = (error: unknown): Error => (error instanceof Error ? error : new DeviceError(String(error)))

/** The memory of a storage that holds values. */
export function blockOf(storage: Storage): MemoryBlock {
  if (storage.block === undefined) throw new DeviceError(`${storage.label} has no memory; it was disposed of or its device closed`)
  return storage.block
}

function nameOf(captured: CapturedLeaf | undefined): string {
  if (captured === undefined) throw new RangeError('there is no such leaf')
  const { tensor, leaf } = captured
  switch (leaf.kind) {
    case 'scalar':
      return `the number ${leaf.value}`
    case 'cell':
      return `variable ${leaf.cell.name || formatShape(tensor.shape)}`
    case 'stored':
      return `the tensor ${leaf.storage.label} ${formatShape(tensor.shape)}`
    case 'data':
    case 'placeholder':
      return `data ${formatShape(tensor.shape)}`
    default:
      return leaf satisfies never
  }
}

function bind({ leaf }: CapturedLeaf): MemoryBlock | TypedArray | number {
  switch (leaf.kind) {
    case 'scalar':
      return leaf.value
    case 'data':
      return leaf.data
    case 'cell':
      return blockOf(leaf.cell.storage)
    case 'stored':
      return leaf.storage.host ?? blockOf(leaf.storage)
    case 'placeholder':
      throw new RangeError('a placeholder has no value')
    default:
      return leaf satisfies never
  }
}
