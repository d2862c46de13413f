import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import org.opensearch.Version;
import org.opensearch.common.settings.Settings;
import org.opensearch.env.Environment;
import org.opensearch.node.InternalSettingsPreparer;
import org.opensearch.node.Node;
import org.opensearch.plugins.PluginInfo;

/** One node with HTTP on 127.0.0.1: SingleNode FOLDER PORT. */
public class SingleNode extends Node {
  private SingleNode(Environment environment, List<PluginInfo> plugins) {
    super(environment, plugins, true);
  }

  public static void main(String[] arguments) throws Exception {
    Path home = Path.of(arguments[0]).toAbsolutePath();
    Settings settings = Settings.builder()
        .put("path.home", home)
        .put("cluster.name", "tests")
        .put("node.name", "node")
        .put("discovery.type", "single-node")
        .put("network.host", "127.0.0.1")
        .put("http.port", arguments[1])
        .put("transport.port", "0")
        .put("transport.type", "netty4")
        .put("http.type", "netty4")
        .put("cluster.routing.allocation.disk.threshold_enabled", false)
        .put("node.processors", 2)
        .build();
    Environment environment =
        InternalSettingsPreparer.prepareEnvironment(settings, Map.of(), null, () -> "node");
    List<PluginInfo> plugins = List.of(
        plugin("org.opensearch.transport.Netty4ModulePlugin"),
        plugin("org.opensearch.painless.PainlessModulePlugin"),
        plugin("org.opensearch.analysis.common.CommonAnalysisModulePlugin"));
    new SingleNode(environment, plugins).start();
    Thread.currentThread().join();
  }

  private static PluginInfo plugin(String name) {
    return new PluginInfo(name, name, Version.CURRENT.toString(), Version.CURRENT, "21", name, null, List.of(), false);
  }
}
