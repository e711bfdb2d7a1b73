import com.amazonaws.encryptionsdk.AwsCrypto;
import com.amazonaws.encryptionsdk.CommitmentPolicy;
import com.amazonaws.encryptionsdk.CryptoAlgorithm;
import com.google.gson.Gson;
import com.google.gson.JsonElement;
import com.google.gson.JsonObject;
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.net.URI;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Base64;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import software.amazon.awssdk.regions.Region;
import software.amazon.awssdk.services.dynamodb.DynamoDbClient;
import software.amazon.awssdk.services.kms.KmsClient;
import software.amazon.cryptography.keystore.KeyStore;
import software.amazon.cryptography.keystore.model.CreateKeyInput;
import software.amazon.cryptography.keystore.model.CreateKeyStoreInput;
import software.amazon.cryptography.keystore.model.KMSConfiguration;
import software.amazon.cryptography.keystore.model.KeyStoreConfig;
import software.amazon.cryptography.keystore.model.VersionKeyInput;
import software.amazon.cryptography.materialproviders.IKeyring;
import software.amazon.cryptography.materialproviders.MaterialProviders;
import software.amazon.cryptography.materialproviders.model.AesWrappingAlg;
import software.amazon.cryptography.materialproviders.model.CreateAwsKmsDiscoveryKeyringInput;
import software.amazon.cryptography.materialproviders.model.CreateAwsKmsHierarchicalKeyringInput;
import software.amazon.cryptography.materialproviders.model.CreateAwsKmsKeyringInput;
import software.amazon.cryptography.materialproviders.model.CreateMultiKeyringInput;
import software.amazon.cryptography.materialproviders.model.CreateRawAesKeyringInput;
import software.amazon.cryptography.materialproviders.model.MaterialProvidersConfig;

/**
 * Opens and seals messages with the official AWS Encryption SDK for Java. One JSON request a line
 * on standard input, one JSON answer a line on standard output; see ../doc.go.
 */
public final class Driver {
  private static final Map<String, CryptoAlgorithm> SUITES =
      Map.of(
          "0478", CryptoAlgorithm.ALG_AES_256_GCM_HKDF_SHA512_COMMIT_KEY,
          "0578", CryptoAlgorithm.ALG_AES_256_GCM_HKDF_SHA512_COMMIT_KEY_ECDSA_P384);

  private final MaterialProviders providers =
      MaterialProviders.builder()
          .MaterialProvidersConfig(MaterialProvidersConfig.builder().build())
          .build();
  private final Map<String, IKeyring> keyrings = new HashMap<>();
  private final Map<String, KeyStore> stores = new HashMap<>();

  private static KmsClient kms(JsonObject spec) {
    return KmsClient.builder()
        .endpointOverride(URI.create(spec.get("endpoint").getAsString()))
        .region(Region.of(spec.get("region").getAsString()))
        .build();
  }

  private KeyStore store(JsonObject spec) {
    return stores.computeIfAbsent(
        spec.toString(),
        unused ->
            KeyStore.builder()
                .KeyStoreConfig(
                    KeyStoreConfig.builder()
                        .ddbClient(
                            DynamoDbClient.builder()
                                .endpointOverride(URI.create(spec.get("endpoint").getAsString()))
                                .region(Region.of(spec.get("region").getAsString()))
                                .build())
                        .ddbTableName(spec.get("table").getAsString())
                        .logicalKeyStoreName(spec.get("logicalName").getAsString())
                        .kmsClient(kms(spec))
                        .kmsConfiguration(
                            KMSConfiguration.builder()
                                .kmsKeyArn(spec.get("key").getAsString())
                                .build())
                        .build())
                .build());
  }

  private IKeyring keyring(JsonObject spec) {
    switch (spec.get("type").getAsString()) {
      case "raw-aes":
        return providers.CreateRawAesKeyring(
            CreateRawAesKeyringInput.builder()
                .keyNamespace(spec.get("namespace").getAsString())
                .keyName(spec.get("name").getAsString())
                .wrappingKey(ByteBuffer.wrap(bytes(spec, "key")))
                .wrappingAlg(AesWrappingAlg.ALG_AES256_GCM_IV12_TAG16)
                .build());
      case "kms":
        return providers.CreateAwsKmsKeyring(
            CreateAwsKmsKeyringInput.builder()
                .kmsKeyId(spec.get("key").getAsString())
                .kmsClient(kms(spec))
                .build());
      case "kms-discovery":
        return providers.CreateAwsKmsDiscoveryKeyring(
            CreateAwsKmsDiscoveryKeyringInput.builder().kmsClient(kms(spec)).build());
      case "branch-key":
        return providers.CreateAwsKmsHierarchicalKeyring(
            CreateAwsKmsHierarchicalKeyringInput.builder()
                .keyStore(store(spec.getAsJsonObject("store")))
                .branchKeyId(spec.get("branchKey").getAsString())
                .ttlSeconds(600)
                .build());
      case "multi":
        List<IKeyring> children = new ArrayList<>();
        for (JsonElement child : spec.getAsJsonArray("children")) {
          children.add(keyring(child.getAsJsonObject()));
        }
        return providers.CreateMultiKeyring(
            CreateMultiKeyringInput.builder()
                .generator(keyring(spec.getAsJsonObject("generator")))
                .childKeyrings(children)
                .build());
      default:
        throw new IllegalArgumentException("unknown keyring type " + spec.get("type"));
    }
  }

  /** Answers the requests that name a key store. */
  private JsonObject administer(JsonObject request) {
    KeyStore store = store(request.getAsJsonObject("store"));
    JsonObject result = new JsonObject();
    switch (request.get("op").getAsString()) {
      case "create-key-store":
        store.CreateKeyStore(CreateKeyStoreInput.builder().build());
        break;
      case "create-branch-key":
        CreateKeyInput.Builder key = CreateKeyInput.builder();
        if (!request.get("branchKey").getAsString().isEmpty()) {
          key.branchKeyIdentifier(request.get("branchKey").getAsString());
        }
        Map<String, String> context = context(request);
        if (!context.isEmpty()) {
          key.encryptionContext(context);
        }
        result.addProperty("branchKey", store.CreateKey(key.build()).branchKeyIdentifier());
        break;
      case "rotate-branch-key":
        store.VersionKey(
            VersionKeyInput.builder()
                .branchKeyIdentifier(request.get("branchKey").getAsString())
                .build());
        break;
      default:
        throw new IllegalArgumentException("unknown operation " + request.get("op"));
    }
    result.addProperty("ok", true);
    return result;
  }

  private static Map<String, String> context(JsonObject request) {
    Map<String, String> context = new HashMap<>();
    request
        .getAsJsonObject("context")
        .entrySet()
        .forEach(e -> context.put(e.getKey(), e.getValue().getAsString()));
    return context;
  }

  private JsonObject answer(JsonObject request) {
    if (request.has("store")) {
      return administer(request);
    }
    JsonObject spec = request.getAsJsonObject("keyring");
    IKeyring keyring = keyrings.computeIfAbsent(spec.toString(), unused -> keyring(spec));
    AwsCrypto.Builder crypto =
        AwsCrypto.builder().withCommitmentPolicy(CommitmentPolicy.RequireEncryptRequireDecrypt);
    JsonObject result = new JsonObject();
    switch (request.get("op").getAsString()) {
      case "encrypt":
        crypto.withEncryptionAlgorithm(SUITES.get(request.get("suite").getAsString()));
        if (request.has("frame")) {
          crypto.withEncryptionFrameSize(request.get("frame").getAsInt());
        }
        result.addProperty(
            "message",
            text(
                crypto
                    .build()
                    .encryptData(keyring, bytes(request, "plaintext"), context(request))
                    .getResult()));
        break;
      case "decrypt":
        var opened = crypto.build().decryptData(keyring, bytes(request, "message"));
        result.addProperty("plaintext", text(opened.getResult()));
        JsonObject pairs = new JsonObject();
        opened.getEncryptionContext().forEach(pairs::addProperty);
        result.add("context", pairs);
        break;
      default:
        throw new IllegalArgumentException("unknown operation " + request.get("op"));
    }
    result.addProperty("ok", true);
    return result;
  }

  private static byte[] bytes(JsonObject o, String field) {
    return Base64.getDecoder().decode(o.get(field).getAsString());
  }

  private static String text(byte[] b) {
    return Base64.getEncoder().encodeToString(b);
  }

  public static void main(String[] args) throws Exception {
    Gson gson = new Gson();
    Driver driver = new Driver();
    PrintStream out = new PrintStream(System.out, true, StandardCharsets.UTF_8);
    var in = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
    for (String line; (line = in.readLine()) != null; ) {
      JsonObject result;
      try {
        result = driver.answer(gson.fromJson(line, JsonObject.class));
      } catch (Exception e) { // every refusal of the SDK is an answer
        result = new JsonObject();
        result.addProperty("ok", false);
        result.addProperty("class", e.getClass().getSimpleName());
        result.addProperty("error", String.valueOf(e.getMessage()));
      }
      out.println(gson.toJson(result));
    }
  }
}
