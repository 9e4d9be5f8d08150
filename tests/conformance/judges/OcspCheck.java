import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStream;
import java.io.InputStreamReader;
import java.net.URI;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.GeneralSecurityException;
import java.security.cert.CertPath;
import java.security.cert.CertPathValidator;
import java.security.cert.CertPathValidatorException;
import java.security.cert.CertificateFactory;
import java.security.cert.CertificateRevokedException;
import java.security.cert.PKIXParameters;
import java.security.cert.PKIXRevocationChecker;
import java.security.cert.PKIXRevocationChecker.Option;
import java.security.cert.TrustAnchor;
import java.security.cert.X509Certificate;
import java.util.ArrayList;
import java.util.EnumSet;
import java.util.List;
import java.util.Set;

/**
 * Validates certification paths with Java's own OCSP client, and prints its verdicts.
 *
 * <p>Each line of standard input is one path: name, URL of the responder ("-": the one that the certificate names),
 * options of PKIXRevocationChecker separated by commas, the trust anchor's file, and the files of the path from the leaf
 * on, separated by commas; fields are separated by tabs. Each line of standard output is one verdict: the name, then
 * "good", or "revoked" with reason and time, or the kind of the exception with its message.
 */
public final class OcspCheck {
    private OcspCheck() {}

    public static void main(String[] arguments) throws IOException, GeneralSecurityException {
        BufferedReader lines = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        for (String line = lines.readLine(); line != null; line = lines.readLine()) {
            String[] fields = line.split("\t");
            System.out.println(fields[0] + "\t" + verdict(fields));
        }
    }

    private static String verdict(String[] fields) throws IOException, GeneralSecurityException {
        CertPathValidator validator = CertPathValidator.getInstance("PKIX");
        PKIXRevocationChecker checker = (PKIXRevocationChecker) validator.getRevocationChecker();
        checker.setOptions(options(fields[2]));
        if (!fields[1].equals("-")) {
            checker.setOcspResponder(URI.create(fields[1]));
        }
        PKIXParameters parameters = new PKIXParameters(Set.of(new TrustAnchor(certificate(fields[3]), null)));
        parameters.addCertPathChecker(checker);
        try {
            validator.validate(path(fields[4]), parameters);
            return "good";
        } catch (CertPathValidatorException refused) {
            return described(refused);
        }
    }

    private static String described(CertPathValidatorException refused) {
        if (refused.getCause() instanceof CertificateRevokedException revoked) {
            return "revoked\t" + revoked.getRevocationReason() + "\t" + revoked.getRevocationDate().toInstant();
        }
        return refused.getReason() + "\t" + refused.getMessage();
    }

    private static Set<Option> options(String names) {
        Set<Option> options = EnumSet.noneOf(Option.class);
        for (String name : names.split(",")) {
            options.add(Option.valueOf(name));
        }
        return options;
    }

    private static CertPath path(String files) throws IOException, GeneralSecurityException {
        List<X509Certificate> certificates = new ArrayList<>();
        for (String file : files.split(",")) {
            certificates.add(certificate(file));
        }
        return CertificateFactory.getInstance("X.509").generateCertPath(certificates);
    }

    private static X509Certificate certificate(String file) throws IOException, GeneralSecurityException {
        try (InputStream stream = Files.newInputStream(Path.of(file))) {
            return (X509Certificate) CertificateFactory.getInstance("X.509").generateCertificate(stream);
        }
    }
}
