import { loadPackageDefinition } from '@grpc/grpc-js';
import { fromJSON } from '@grpc/proto-loader';
import { descriptor } from './generated/descriptor.ts';
import type { ProtoGrpcType } from './generated/registration.ts';

/** As scripts/generate-csi-types.mjs says, or the types would lie. */
const options = { longs: String, enums: String, defaults: false, oneofs: true, arrays: true, objects: true };

/** The registration service. */
// proto-loader knows no types; the generated ones are made from the same file
export const pluginregistration = (
  loadPackageDefinition(fromJSON(descriptor, options)) as unknown as ProtoGrpcType
).pluginregistration;
