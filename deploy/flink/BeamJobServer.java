import org.apache.beam.runners.flink.FlinkJobServerDriver;

/**
 * Beam's job server for a Flink cluster that has Beam in its lib/ folder: nothing is sent there with a job but the job.
 *
 * <p>Beam's own sends all of its class path, again with each job, and what it sends is loaded anew by a class loader of
 * the job. What it sends is what the property below names. The JVM has read it by then.
 */
public final class BeamJobServer {
  public static void main(String[] arguments) throws Exception {
    System.setProperty("java.class.path", "");
    FlinkJobServerDriver.main(arguments);
  }
}
