/** The devices that answer here. A device that is missing is said loudly, and its tests are listed as skipped. */
import { inject, test } from 'vitest'
import type { DeviceKind } from '../engine/device/backend.ts'
import type { Device } from '../engine/device/device.ts'
import { device } from '../engine/device/open.ts'

export interface Opened {
  readonly kind: DeviceKind
  /** Undefined where the device is missing. */
  readonly device: Device | undefined
}

async function open(kind: DeviceKind): Promise<Opened> {
  try {
    return { kind, device: await device(kind, { makeDefault: false }) }
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error)
    console.warn(`\nNO ${kind} DEVICE: its tests are SKIPPED (${why})\n`)
    return { kind, device: undefined }
  }
}

/** The devices of the vitest project, opened. Close them with `closeAll` when the file's tests are done. */
export async function openAll(): Promise<readonly Opened[]> {
  return Promise.all(inject('devices').map(open))
}

export async function closeAll(opened: readonly Opened[]): Promise<void> {
  await Promise.all(opened.map(async ({ device: one }) => one?.close()))
}

/** A test that runs on each device, and is counted as skipped on those that are missing. */
export function onEach(opened: readonly Opened[], name: string, body: (device: Device) => Promise<void> | void, timeout?: number): void {
  for (const { kind, device: one } of opened) {
    if (one === undefined) test.skip(`${name} on ${kind}`)
    else test(`${name} on ${kind}`, async () => body(one), timeout)
  }
}
