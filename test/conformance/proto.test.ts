import { join } from 'node:path';
import protobuf from 'protobufjs';
import { describe, expect, it } from 'vitest';
import { goModuleFolder, whyNoGo } from '../support/go-tools.ts';

const project = join(import.meta.dirname, '../..');

const contracts = [
  {
    ours: 'proto/csi/csi.proto',
    module: 'github.com/container-storage-interface/spec',
    theirs: 'csi.proto',
    namespace: 'csi.v1',
    facts: 300,
  },
  {
    ours: 'proto/pluginregistration/registration.proto',
    module: 'k8s.io/kubelet',
    theirs: 'pkg/apis/pluginregistration/v1/api.proto',
    namespace: 'pluginregistration',
    facts: 10,
  },
] as const;

const noGo = await whyNoGo();

describe.skipIf(noGo !== undefined)(
  `our proto files${noGo === undefined ? '' : ` (skipped: ${noGo})`}`,
  () => {
    it.each(contracts)(
      "say what upstream's $module says: $ours",
      async ({ ours, module, theirs, namespace, facts }) => {
        const folder = await goModuleFolder('proto', module);
        const own = factsOf(join(project, ours), namespace);
        expect(own.length).toBeGreaterThan(facts);
        expect(own).toEqual(factsOf(join(folder, theirs), namespace));
      },
      300_000,
    );
  },
);

/** Everything of a file that is on the wire or in an API: one line a service method, field and enum value, sorted. */
function factsOf(file: string, namespace: string): readonly string[] {
  const root = new protobuf.Root();
  const resolve = root.resolvePath.bind(root);
  // upstream imports descriptor.proto for its options, which protobufjs knows but does not bundle
  root.resolvePath = (origin, target) =>
    target.startsWith('google/') ? join(project, 'node_modules/protobufjs', target) : resolve(origin, target);
  root.loadSync(file, { keepCase: true }).resolveAll();
  return factsBelow(root.lookup(namespace) as protobuf.Namespace).toSorted();
}

function factsBelow(namespace: protobuf.Namespace): string[] {
  return namespace.nestedArray.flatMap((object) => {
    if (object instanceof protobuf.Enum) return factsOfEnum(object);
    if (object instanceof protobuf.Service) return object.methodsArray.map(factOfMethod);
    if (object instanceof protobuf.Type) {
      return [`message ${object.fullName}`, ...object.fieldsArray.map(factOfField), ...factsBelow(object)];
    }
    // extensions of descriptor.proto: options, which are not on the wire
    return [];
  });
}

function factsOfEnum(object: protobuf.Enum): string[] {
  return Object.entries(object.values).map(([name, value]) => `enum ${object.fullName} ${name} = ${value}`);
}

function factOfMethod(method: protobuf.Method): string {
  const { resolvedRequestType, resolvedResponseType, requestStream = false, responseStream = false } = method;
  const types = `${resolvedRequestType?.fullName}, ${resolvedResponseType?.fullName}`;
  return `method ${method.fullName}(${types}) streams ${requestStream}, ${responseStream}`;
}

function factOfField(field: protobuf.Field): string {
  const type = field.resolvedType?.fullName ?? field.type;
  const key = field instanceof protobuf.MapField ? `map of ${field.keyType} to ` : '';
  const label = field.repeated ? 'repeated ' : '';
  const oneof = field.partOf === null ? '' : ` in oneof ${field.partOf.name}`;
  return `field ${field.fullName} = ${field.id}: ${label}${key}${type}${oneof}`;
}
